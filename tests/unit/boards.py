"""What boards answer, as edge's script would print it there.

Written after what these systems are known to print (kernel, device tree, os-release, cpuinfo and
``ldd --version`` of each), not recorded by us: nobody here has the hardware. Long lists are cut.
"""

from __future__ import annotations

ELF_AARCH64 = "7f454c4602010100000000000000000003" + "00b700"
ELF_ARM = "7f454c4601010100000000000000000003" + "002800"

# Raspberry Pi 4, 64-bit Raspberry Pi OS (bookworm), root on the card, behind a weak power supply.
RASPBERRY_PI_4 = f"""\
root=/home/pi/.local/share/edge
user=pi
kernel=Linux 6.6.31+rpt-rpi-v8
kernel_machine=aarch64
shell_elf={ELF_AARCH64}
system=Debian GNU/Linux 12 (bookworm)
model=Raspberry Pi 4 Model B Rev 1.4
hardware=raspberrypi,4-model-b brcm,bcm2711
libc=glibc 2.36
writable=yes
free_kib=23854512
mount=/
mounts=proc /proc proc rw,relatime 0 0
mounts=/dev/mmcblk0p2 / ext4 rw,noatime 0 0
cores=4
features= fp asimd evtstrm crc32 cpuid
cpu=0x41 0xd08
cpu=0x41 0xd08
cpu=0x41 0xd08
cpu=0x41 0xd08
cpu_name=
MemTotal=3884360
MemAvailable=3201568
SwapTotal=204796
SwapFree=204796
page=4096
allowed=0-3
memory_max=
cpu_max=
memory_max=max
cpu_max=max 100000
memory_max=
cpu_max=
memory_max=
cpu_max=
throttled=50005
provides=GCC_3.0
provides=GCC_4.2.0
provides=GCC_7.0.0
provides=GCC_12.0.0
provides=CXXABI_1.3
provides=CXXABI_1.3.13
provides=CXXABI_1.3.9
provides=GLIBCXX_3.4
provides=GLIBCXX_3.4.10
provides=GLIBCXX_3.4.30
provides=GLIBCXX_3.4.9
libraries=ld-linux-aarch64.so.1 libc.so.6 libdl.so.2 libgcc_s.so.1 libm.so.6 libpthread.so.0 \
librt.so.1 libstdc++.so.6
clock=1795000000
"""

RASPBERRY_PI_4_CONDITION = """\
policy=policy0/0 1 2 3/ondemand/conservative ondemand userspace powersave performance schedutil /600000/1800000/1800000/600000
zone=cpu-thermal/71578/ 110000
load=0.08 0.03 0.01 1/171 2350
groups=pi adm dialout cdrom sudo audio video plugdev games users input render netdev gpio i2c spi
isolated=
sudo=yes
vcgencmd=throttled=0x50005
python=/usr/bin/python3/3.11.2
python=/usr/bin/python3.11/3.11.2
"""  # noqa: E501

# Raspberry Pi 3, 32-bit Raspberry Pi OS (bullseye): its kernel is a 64-bit one.
RASPBERRY_PI_3_32_BIT = f"""\
root=/home/pi/.local/share/edge
user=pi
kernel=Linux 6.1.21-v8+
kernel_machine=aarch64
shell_elf={ELF_ARM}
system=Raspbian GNU/Linux 11 (bullseye)
model=Raspberry Pi 3 Model B Plus Rev 1.3
hardware=raspberrypi,3-model-b-plus brcm,bcm2837
libc=ldd (Debian GLIBC 2.31-13+rpt2+rpi1+deb11u8) 2.31 Copyright (C) 2020 Free Software
writable=yes
free_kib=5000000
mount=/
mounts=/dev/mmcblk0p2 / ext4 rw,noatime 0 0
cores=4
features= fp asimd evtstrm crc32 cpuid
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
MemTotal=944256
MemAvailable=700000
throttled=throttled=0x0
provides=GLIBCXX_3.4.28
clock=1795000000
"""

# Jetson Nano, JetPack 4.6 (Ubuntu 18.04).
JETSON_NANO = f"""\
root=/home/nvidia/.local/share/edge
user=nvidia
kernel=Linux 4.9.253-tegra
kernel_machine=aarch64
shell_elf={ELF_AARCH64}
system=Ubuntu 18.04.6 LTS
model=NVIDIA Jetson Nano Developer Kit
hardware=nvidia,p3449-0000-b00+p3448-0000-b00 nvidia,jetson-nano nvidia,tegra210
libc=glibc 2.27
writable=yes
free_kib=9000000
mount=/
mounts=/dev/mmcblk0p1 / ext4 rw,relatime,data=ordered 0 0
cores=4
features= fp asimd evtstrm aes pmull sha1 sha2 crc32
cpu=0x41 0xd07
cpu=0x41 0xd07
cpu=0x41 0xd07
cpu=0x41 0xd07
cpu_name= ARMv8 Processor rev 1 (v8l)
MemTotal=4059264
MemAvailable=3000000
SwapTotal=2029616
SwapFree=1929616
page=4096
allowed=0-3
memory_max=9223372036854771712
cpu_max=-1 100000
throttled=
libraries=libc.so.6 libgcc_s.so.1 libstdc++.so.6 ld-linux-aarch64.so.1 libdl.so.2 libm.so.6 \
libpthread.so.0 librt.so.1
provides=GLIBCXX_3.4.25
provides=CXXABI_1.3.11
provides=GCC_7.0.0
clock=1795000000
"""

JETSON_NANO_CONDITION = """\
policy=policy0/0 1 2 3/schedutil/interactive conservative ondemand userspace powersave performance schedutil /102000/918000/1479000/102000
zone=AO-therm/41500/ 100000
zone=CPU-therm/33000/ 97000 101000 102500
zone=thermal-fan-est/33000/ 
load=1.35 0.80 0.31 2/430 8123
groups=nvidia adm cdrom sudo audio dip video plugdev i2c lpadmin gdm weston-launch gpio
isolated=
sudo=password
python=/usr/bin/python3/3.6.9
"""  # noqa: E501, W291

# BeagleBone Black, Debian 11 armhf. Without a battery its clock starts in the past.
BEAGLEBONE_BLACK = f"""\
root=/home/debian/.local/share/edge
user=debian
kernel=Linux 5.10.168-ti-r72
kernel_machine=armv7l
shell_elf={ELF_ARM}
system=Debian GNU/Linux 11 (bullseye)
model=TI AM335x BeagleBone Black
hardware=ti,am335x-bone-black ti,am335x-bone ti,am33xx
libc=glibc 2.31
writable=yes
free_kib=1000000
mount=/
mounts=/dev/mmcblk1p1 / ext4 rw,noatime 0 0
cores=1
features= half thumb fastmult vfp edsp thumbee neon vfpv3 tls vfpd32
cpu=0x41 0xc08
cpu_name= ARMv7 Processor rev 2 (v7l)
MemTotal=495364
MemAvailable=390000
SwapTotal=0
SwapFree=0
clock=1676500000
"""

# Alpine on a Pi Zero 2 W: musl, busybox, the root mounted read-only ("diskless").
ALPINE = f"""\
root=/root/.local/share/edge
user=root
kernel=Linux 6.6.31-0-rpi
kernel_machine=aarch64
shell_elf={ELF_AARCH64}
system=Alpine Linux v3.20
model=Raspberry Pi Zero 2 W Rev 1.0
hardware=raspberrypi,model-zero-2-w brcm,bcm2837
libc=musl libc (aarch64) Version 1.2.5
writable=no
free_kib=0
mount=/
mounts=tmpfs / tmpfs rw,relatime,mode=755 0 0
mounts=/dev/mmcblk0p2 / ext4 ro,relatime 0 0
cores=4
features= fp asimd evtstrm crc32 cpuid
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
MemTotal=436000
MemAvailable=390000
libraries=libc.musl-aarch64.so.1 libcrypto.so.3
clock=1795000000
"""

# A container on a ROCKPro64 (RK3399: four small cores and two big ones): half a processor, 512 MiB.
CONTAINER_ON_RK3399 = f"""\
root=/root/.local/share/edge
user=root
kernel=Linux 6.1.63-current-rockchip64
kernel_machine=aarch64
shell_elf={ELF_AARCH64}
system=Debian GNU/Linux 12 (bookworm)
model=Pine64 RockPro64 v2.1
hardware=pine64,rockpro64-v2.1 pine64,rockpro64 rockchip,rk3399
libc=glibc 2.36
writable=yes
free_kib=8000000
mount=/
mounts=overlay / overlay rw,relatime,lowerdir=/var/lib/docker/overlay2/l/X 0 0
cores=6
features= fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd03
cpu=0x41 0xd08
cpu=0x41 0xd08
MemTotal=3900000
MemAvailable=3000000
SwapTotal=1000000
SwapFree=1000000
allowed=0-1,4
memory_max=536870912
cpu_max=50000 100000
memory_max=
cpu_max=
clock=1795000000
"""

CONTAINER_ON_RK3399_CONDITION = """\
policy=policy0/0 1 2 3/performance/performance schedutil /408000/1416000/1416000/1416000
policy=policy4/4 5/powersave/powersave /408000/1800000/1800000/408000
zone=cpu-thermal/61111/ 70000 75000 95000
zone=gpu-thermal/hot/
load=0.10 0.10 0.10 1/100 99
groups=root
isolated=5
sudo=root
"""
