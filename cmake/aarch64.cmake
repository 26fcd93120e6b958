# cmake/aarch64-root.sh && cmake --preset aarch64: a cross build with Debian's multiarch libraries. The tests that need no
# io_uring run under qemu-user, which does not know it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
find_program(BNX_QEMU NAMES qemu-aarch64 qemu-aarch64-static)
if(BNX_QEMU)
    set(CMAKE_CROSSCOMPILING_EMULATOR ${BNX_QEMU} -L /)
endif()
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
# Unpacked there by cmake/aarch64-root.sh.
set(BNX_CK_LIBRARY ${CMAKE_CURRENT_LIST_DIR}/../build/aarch64-root/usr/lib/aarch64-linux-gnu/libck.a
    CACHE FILEPATH "Concurrency Kit's library for the target")
set(CMAKE_FIND_ROOT_PATH /usr/lib/aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig)
