"""The life of one call.

caller        makes a call, and is the only place that raises its error
call          the call itself: admission, attempts, recovery, decoding
record        its facts, errors and log lines
retry         whether a failure is retried, when, and at what cost
admission     when a call may send: slots, rate limit, pauses, turns
pace          the rate that a throttling server allows, learned from its answers
deadlines     cancel scopes and their timer
auth          sources of tokens
client_state  what all views of a client share
loop_state    what belongs to one event loop
"""
