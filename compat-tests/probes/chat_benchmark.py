"""How many lines a second CPython's async_chat finds, fed from memory.

    python3 -W ignore chat_benchmark.py LINE_LENGTH BUFFER_SIZE SECONDS

Prints the number. `chat_benchmark` runs it.
"""

import asynchat
import sys
import time


class Feed(asynchat.async_chat):

    def __init__(self, piece):
        asynchat.async_chat.__init__(self, map={})
        self.ac_in_buffer_size = len(piece)
        self.set_terminator(b'\r\n')
        self.piece = piece
        self.lines = 0
        self.bytes = 0

    def recv(self, size):
        return self.piece

    def collect_incoming_data(self, data):
        self.bytes += len(data)

    def found_terminator(self):
        self.lines += 1


line_length, buffer_size = int(sys.argv[1]), int(sys.argv[2])
line = b'x' * (line_length - 2) + b'\r\n'
feed = Feed(line * (buffer_size // line_length))
start = time.process_time()
spent = 0
while spent < float(sys.argv[3]):
    feed.handle_read()
    spent = time.process_time() - start
print(feed.lines / spent)
