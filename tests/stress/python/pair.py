"""Lets the kernel compute whole checksums on an interface: what reads its packets hands them on as they are."""

import array, fcntl, socket, struct, sys

NO_CHECKSUM_OFFLOAD = array.array("I", [0x17, 0])  # ETHTOOL_STXCSUM
pointer, _ = NO_CHECKSUM_OFFLOAD.buffer_info()
control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for name in sys.argv[1:]:
    fcntl.ioctl(control, 0x8946, struct.pack("16sP16x", name.encode(), pointer))
