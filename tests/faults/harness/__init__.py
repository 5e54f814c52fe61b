"""What the fault tests share: a scripted server, a clock, and the checks that every test makes."""
