# Looks up names with getaddrinfo: one after the other, or with "parallel" in 16 threads.
import concurrent.futures
import socket
import sys


def lookup(name):
    try:
        socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    except OSError:
        pass


with concurrent.futures.ThreadPoolExecutor(16 if sys.argv[1] == "parallel" else 1) as pool:
    list(pool.map(lookup, sys.argv[2:]))
