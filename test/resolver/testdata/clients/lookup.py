"""Looks up the name with getaddrinfo, and prints the outcome and the addresses."""
import socket
import sys

try:
    found = socket.getaddrinfo(sys.argv[1], None, type=socket.SOCK_STREAM)
    print("found", *(address[4][0] for address in found), sep="\n")
except socket.gaierror as e:
    words = {socket.EAI_NONAME: "not_found", socket.EAI_NODATA: "no_data", socket.EAI_AGAIN: "temporary_failure"}
    print(words.get(e.errno, "failure"))
