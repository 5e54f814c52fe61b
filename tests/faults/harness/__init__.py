"""The harness of the fault tests: a scripted server, a clock, and the checks of every test."""
