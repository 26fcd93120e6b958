# How the library stays under 250,000 bytes, stripped; packaging.library_size looks. Optimised
# builds alone: in the others nobody weighs it.
#
# 1. What runs seldom, or next to a system call that costs a hundred times as much, is compiled for
#    size. The paths of instructions.hot_paths do not get longer by it.
set(BNX_SMALL_SOURCES
    runtime/barrier.c
    runtime/broadcast.c
    runtime/cancel.c
    runtime/check.c
    runtime/completed.c
    runtime/crash.c
    runtime/dump.c
    runtime/environment.c
    runtime/gen_stack.c
    runtime/guest.c
    runtime/handle.c
    runtime/iter.c
    runtime/kind.c
    runtime/limiter.c
    runtime/local.c
    runtime/main.c
    runtime/offload.c
    runtime/once.c
    runtime/oneshot.c
    runtime/os.c
    runtime/os_process.c
    runtime/pool.c
    runtime/progress.c
    runtime/quota.c
    runtime/rescue.c
    runtime/runtime.c
    runtime/select.c
    runtime/several.c
    runtime/shield.c
    runtime/stack.c
    runtime/strand.c
    runtime/textfile.c
    runtime/thread_pool.c
    runtime/thread_wait.c
    runtime/ticker.c
    runtime/topology.c
    runtime/watch.c
    runtime/watchdog.c
    io/address.c
    io/blocking.c
    io/copy.c
    io/datagram.c
    io/dial.c
    io/dir.c
    io/dns.c
    io/driver.c
    io/file.c
    io/hint.c
    io/listener.c
    io/lookup.c
    io/pass.c
    io/path.c
    io/perform.c
    io/poller.c
    io/process.c
    io/process_run.c
    io/raw.c
    io/ready.c
    io/serve.c
    io/signal.c
    io/socket.c
    io/stream.c
    io/stream_copy.c
    io/stream_write.c
    io/terminal.c
    io/walk.c
)

# 2. Tables for unwinding are loaded with the program only for functions under which a user's code
#    runs: a trace that begins in a task, a fork, a generator's body or a handler reaches the end of
#    its stack, as the tests unwind.* have it. All others have theirs in .debug_frame, where gdb and
#    perf find it and strip takes it away; loaded, it was 49 KB of 339. No exception may pass
#    through any of them.
set(BNX_UNWOUND_SOURCES
    runtime/arch/${BNX_ARCH}/trampoline.S
    runtime/call.c
    runtime/defer.c
    runtime/fork.c
    runtime/future.c
    runtime/gen.c
    runtime/gen_stack.c
    runtime/iter.c
    runtime/local.c
    runtime/main.c
    runtime/offload.c
    runtime/once.c
    runtime/scope.c
    runtime/spawn.c
    runtime/strand.c
    runtime/task.c
    runtime/user_timer.c
    io/ready.c
    io/serve.c
)

if(CMAKE_BUILD_TYPE STREQUAL "Debug" OR BONXIE_SANITIZE)
    return()
endif()
set_source_files_properties(${BNX_SMALL_SOURCES} PROPERTIES COMPILE_OPTIONS -Os)
set(BNX_PLAIN_SOURCES ${BNX_RUNTIME_SOURCES} ${BNX_IO_SOURCES})
list(REMOVE_ITEM BNX_PLAIN_SOURCES ${BNX_UNWOUND_SOURCES})
set_property(SOURCE ${BNX_PLAIN_SOURCES} APPEND PROPERTY COMPILE_OPTIONS
    -fno-asynchronous-unwind-tables -fno-unwind-tables)

# 3. No padding before the targets of jumps, which is 5 % of the code, but where each nanosecond
#    counts.
set(BNX_PADDED_SOURCES
    runtime/chan.c
    runtime/mutex.c
    runtime/queue.c
    runtime/task.c
)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    set(BNX_UNPADDED_SOURCES ${BNX_RUNTIME_SOURCES} ${BNX_IO_SOURCES})
    list(REMOVE_ITEM BNX_UNPADDED_SOURCES ${BNX_PADDED_SOURCES})
    list(FILTER BNX_UNPADDED_SOURCES INCLUDE REGEX "\\.c$")
    set_property(SOURCE ${BNX_UNPADDED_SOURCES} APPEND PROPERTY COMPILE_OPTIONS
        -fno-align-jumps -fno-align-labels)
endif()
