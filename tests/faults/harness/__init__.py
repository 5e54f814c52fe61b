"""The base of the fault tests: a scripted server, a clock, and the checks around every test."""
