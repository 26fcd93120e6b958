# How tests, examples and benchmark tools are declared.

set(BNX_TEST_ENVIRONMENT
    "ASAN_OPTIONS=abort_on_error=0:strict_string_checks=1"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:allow_addr2line=1"
)
set(BNX_TEST_SECONDS 60)
if(BONXIE_SANITIZE)
    set(BNX_TEST_SECONDS 240)
endif()

# Gives one ctest entry what every entry has; records its command for the plants.
function(bnx_test_entry name labels seconds)
    if(NOT seconds)
        set(seconds ${BNX_TEST_SECONDS})
    endif()
    set_tests_properties(${name} PROPERTIES
        LABELS "${labels}"
        TIMEOUT ${seconds}
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${BNX_TEST_ENVIRONMENT}"
    )
    if("serial" IN_LIST labels)
        set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)
    endif()
    set_property(GLOBAL PROPERTY "BNX_TEST_COMMAND_${name}" "${ARGN}")
endfunction()

# The same test again, with the epoll driver.
function(bnx_epoll_test name labels seconds)
    add_test(NAME epoll.${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    bnx_test_entry(epoll.${name} "${labels};epoll" "${seconds}" ${CMAKE_COMMAND} -E env
        BONXIE_DRIVER=epoll ${ARGN})
    set_property(TEST epoll.${name} APPEND PROPERTY ENVIRONMENT "BONXIE_DRIVER=epoll")
endfunction()

# bnx_test(NAME exe SOURCES ... CLAIMS module.claim ... LABELS ... [RUNTIME_ONLY] [SIM_ONLY | NO_SIM]
#          [TIMEOUT seconds] [ARGS ...] [LIBRARIES ...])
#
# One executable in build/tests and one ctest entry a claim, named as the claim.
#   RUNTIME_ONLY links the runtime with the null driver, not io/; DRIVER names another object library
#   that provides the driver.
#   The sim build has the RUNTIME_ONLY tests labelled unit or sim, but those with NO_SIM; SIM_ONLY keeps
#   a test out of every other build.
#   Labels: unit stress sched api io sim gdb style plants examples packaging vm instructions, and
#   serial: never beside another test.
#   What links io/ is run by each driver: on epoll as epoll.module.claim; RING_ONLY tests are not.
function(bnx_test)
    cmake_parse_arguments(PARSE_ARGV 0 T "RUNTIME_ONLY;SIM_ONLY;NO_SIM;RING_ONLY"
        "NAME;TIMEOUT;DRIVER"
        "SOURCES;CLAIMS;LABELS;ARGS;LIBRARIES")
    if(T_UNPARSED_ARGUMENTS OR NOT T_NAME OR NOT T_SOURCES OR NOT T_CLAIMS OR NOT T_LABELS)
        message(FATAL_ERROR "bnx_test(${T_NAME}): NAME, SOURCES, CLAIMS and LABELS are needed")
    endif()
    if(BONXIE_SIM)
        if(NOT T_RUNTIME_ONLY OR T_NO_SIM OR NOT ("unit" IN_LIST T_LABELS OR "sim" IN_LIST T_LABELS))
            return()
        endif()
    elseif(T_SIM_ONLY OR (NOT T_RUNTIME_ONLY AND NOT BONXIE_IO))
        return()
    endif()

    list(TRANSFORM T_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
    add_executable(${T_NAME} ${T_SOURCES})
    set_target_properties(${T_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
    target_link_libraries(${T_NAME} PRIVATE bonxie_internal bonxie_test ${T_LIBRARIES})
    if(T_RUNTIME_ONLY)
        if(NOT T_DRIVER)
            set(T_DRIVER bonxie_test_driver)
        endif()
        target_link_libraries(${T_NAME} PRIVATE bonxie_runtime ${T_DRIVER})
    else()
        target_link_libraries(${T_NAME} PRIVATE bonxie_static)
    endif()

    foreach(claim IN LISTS T_CLAIMS)
        add_test(NAME ${claim} COMMAND ${T_NAME} ${claim} ${T_ARGS})
        bnx_test_entry(${claim} "${T_LABELS}" "${T_TIMEOUT}" $<TARGET_FILE:${T_NAME}> ${claim} ${T_ARGS})
        set_property(GLOBAL APPEND PROPERTY BNX_CLAIMS "$<TARGET_FILE:${T_NAME}> ${claim}")
        if(NOT T_RUNTIME_ONLY AND NOT T_RING_ONLY)
            bnx_epoll_test(${claim} "${T_LABELS}" "${T_TIMEOUT}" $<TARGET_FILE:${T_NAME}> ${claim} ${T_ARGS})
        endif()
    endforeach()
endfunction()

# bnx_script_test(module.claim COMMAND program arg ... LABELS ... [TIMEOUT seconds] [BOTH_DRIVERS])
#
# A ctest entry that is a command of its own; it exits 77 when skipped and says "skipped: REASON".
function(bnx_script_test name)
    cmake_parse_arguments(PARSE_ARGV 1 T "BOTH_DRIVERS" "TIMEOUT" "COMMAND;LABELS")
    if(T_UNPARSED_ARGUMENTS OR NOT T_COMMAND OR NOT T_LABELS)
        message(FATAL_ERROR "bnx_script_test(${name}): COMMAND and LABELS are needed")
    endif()
    add_test(NAME ${name} COMMAND ${T_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    bnx_test_entry(${name} "${T_LABELS}" "${T_TIMEOUT}" ${T_COMMAND})
    if(T_BOTH_DRIVERS)
        bnx_epoll_test(${name} "${T_LABELS}" "${T_TIMEOUT}" ${T_COMMAND})
    endif()
endfunction()

# bnx_program(name SOURCES ... [LIBRARIES ...]): build/bin/name. Internal headers are in its reach, for
# its own are included from the root; style.layering keeps it to the public ones.
function(bnx_program name)
    cmake_parse_arguments(PARSE_ARGV 1 P "" "" "SOURCES;LIBRARIES")
    list(TRANSFORM P_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
    add_executable(${name} ${P_SOURCES})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(${name} PRIVATE bonxie_options ${P_LIBRARIES})
endfunction()

# bnx_example(name SOURCES ...): an example program.
function(bnx_example name)
    bnx_program(${name} ${ARGN} LIBRARIES bonxie_static)
endfunction()

# bnx_bench_tool(name SOURCES ... [LIBRARIES ...]): a load generator or a bare peer; no bonxie in it
# unless LIBRARIES names bonxie_static.
function(bnx_bench_tool name)
    bnx_program(${name} ${ARGN})
    target_link_libraries(${name} PRIVATE Threads::Threads)
endfunction()
