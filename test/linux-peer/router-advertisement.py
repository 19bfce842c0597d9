# A router's word, from inside the namespace: router-advertisement.py INTERFACE PREFIX NAMESERVER MTU
import ipaddress, socket, struct, sys

interface, prefix, server, mtu = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
index = socket.if_nametoindex(interface)
message = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 200)
message += struct.pack('!BBBBIII16s', 3, 4, 64, 0xC0, 3600, 1800, 0, ipaddress.ip_address(prefix).packed)
message += struct.pack('!BBHI', 5, 1, 0, mtu)
message += struct.pack('!BBHI16s', 25, 3, 0, 1800, ipaddress.ip_address(server).packed)
out = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
out.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
out.sendto(message, ('ff02::1', 0, 0, index))
