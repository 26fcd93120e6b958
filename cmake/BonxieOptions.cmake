# The options, and what each of them means to the compiler: the interface target bonxie_options, which
# every object of ours links, so that runtime, io and tests always agree.
include(CheckIncludeFile)
include(CMakeDependentOption)
include(GNUInstallDirs)

string(COMPARE EQUAL ${PROJECT_SOURCE_DIR} ${CMAKE_SOURCE_DIR} BNX_IS_TOP)
if(BNX_IS_TOP AND NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Release, RelWithDebInfo or Debug" FORCE)
endif()
set(BNX_DEBUG_DEFAULT OFF)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
    set(BNX_DEBUG_DEFAULT ON)
endif()

set(BONXIE_SANITIZE "" CACHE STRING "Sanitizers: empty, address (with undefined) or thread")
set_property(CACHE BONXIE_SANITIZE PROPERTY STRINGS "" address thread)
# A sanitizer's program does not run under valgrind.
set(BNX_VALGRIND_DEFAULT OFF)
if(NOT BONXIE_SANITIZE)
    check_include_file(valgrind/valgrind.h BNX_HAVE_VALGRIND_H)
    if(BNX_HAVE_VALGRIND_H)
        set(BNX_VALGRIND_DEFAULT ON)
    endif()
endif()
set(BONXIE_BUILD_NAME "" CACHE STRING "The preset's name, by which tests/plants.txt refers to a build")
option(BONXIE_DEBUG "Check invariants on hot paths" ${BNX_DEBUG_DEFAULT})
option(BONXIE_SHRINK "Make every capacity tiny, so that wrap-around and overflow happen at once")
option(BONXIE_FORCE_MIGRATE "Move each task to another worker at every suspension")
option(BONXIE_SIM "One OS thread, virtual workers, virtual clock, seeded choices; no io/")
option(BONXIE_PLANTS "Let BONXIE_PLANT=NAME in the environment take one rule out")
option(BONXIE_VALGRIND "Know valgrind: its stacks, and no io_uring there" ${BNX_VALGRIND_DEFAULT})
option(BONXIE_WERROR "Warnings are errors")
option(BONXIE_TESTS "Build the tests" ${BNX_IS_TOP})
cmake_dependent_option(BONXIE_IO "Build io/, the drivers and what stands on them" ON
    "NOT BONXIE_SIM" OFF)
cmake_dependent_option(BONXIE_EXAMPLES "Build the example programs" ${BNX_IS_TOP}
    "BONXIE_IO" OFF)
cmake_dependent_option(BONXIE_BENCH "Build the benchmarks and the load generator" ${BNX_IS_TOP}
    "BONXIE_IO" OFF)
cmake_dependent_option(BONXIE_PEERS "Build what bonxie is compared with, as far as its packages are here"
    OFF "BONXIE_BENCH" OFF)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(BNX_ARCH x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(BNX_ARCH aarch64)
else()
    message(FATAL_ERROR "bonxie runs on x86_64 and aarch64, not on ${CMAKE_SYSTEM_PROCESSOR}")
endif()

add_library(bonxie_options INTERFACE)
target_compile_definitions(bonxie_options INTERFACE
    _GNU_SOURCE
    $<$<BOOL:${BONXIE_DEBUG}>:BNX_DEBUG=1>
    $<$<BOOL:${BONXIE_SHRINK}>:BNX_SHRINK=1>
    $<$<BOOL:${BONXIE_FORCE_MIGRATE}>:BNX_FORCE_MIGRATE=1>
    $<$<BOOL:${BONXIE_SIM}>:BNX_SIM=1>
    $<$<BOOL:${BONXIE_PLANTS}>:BNX_PLANTS=1>
    $<$<BOOL:${BONXIE_VALGRIND}>:BNX_VALGRIND=1>
)
target_compile_options(bonxie_options INTERFACE
    -fvisibility=hidden
    # A stack trace out of any instruction, signal handlers included.
    -fasynchronous-unwind-tables
    # No path of the build machine in messages.
    -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=
    -Wall -Wextra -Wshadow -Wundef -Wvla
    $<$<COMPILE_LANGUAGE:C>:-Wconversion>
    $<$<COMPILE_LANGUAGE:C>:-Wstrict-prototypes>
    $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
    $<$<BOOL:${BONXIE_WERROR}>:-Werror>
)
if(BNX_ARCH STREQUAL "x86_64")
    # Branch, never full: a switch leaves by jmp, which a shadow stack cannot follow.
    target_compile_options(bonxie_options INTERFACE -fcf-protection=branch)
endif()

if(BONXIE_SANITIZE STREQUAL "address")
    set(BNX_SANITIZE_FLAGS -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(BONXIE_SANITIZE STREQUAL "thread")
    if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
        message(WARNING "gcc's ThreadSanitizer dies at 8,128 fibers; use clang")
    endif()
    set(BNX_SANITIZE_FLAGS -fsanitize=thread)
elseif(BONXIE_SANITIZE)
    message(FATAL_ERROR "BONXIE_SANITIZE is address, thread or empty, not ${BONXIE_SANITIZE}")
endif()
if(BNX_SANITIZE_FLAGS)
    target_compile_options(bonxie_options INTERFACE ${BNX_SANITIZE_FLAGS} -fno-omit-frame-pointer)
    target_link_options(bonxie_options INTERFACE ${BNX_SANITIZE_FLAGS})
endif()

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_EXTENSIONS ON)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
