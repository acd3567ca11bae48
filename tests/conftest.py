"""For every test: an environment that does not depend on how the tests were started."""

import signal

# Started in the background of a shell, a process ignores Ctrl-C and hands that on; tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)
