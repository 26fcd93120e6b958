# cmake -B build/aarch64 --toolchain cmake/aarch64.cmake: a cross build, tests run under qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
find_program(BNX_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(BNX_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${BNX_QEMU} -L /usr/aarch64-linux-gnu)
endif()
# Debian has no liburing for a foreign architecture without multiarch: the runtime alone.
set(BONXIE_IO OFF CACHE BOOL "io/ needs the target's liburing")
