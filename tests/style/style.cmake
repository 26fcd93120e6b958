# One ctest entry a rule of the source, and one a plant of this build. Included last: it needs to know
# every test.
set(BNX_STYLE_RULES
    atomics claims comments edges file_sizes format function_sizes headers layering levels maps paths
    plants spdx suspends words
)
if(BNX_PYTHON AND NOT BONXIE_SIM AND NOT CMAKE_CROSSCOMPILING)
    get_property(claims GLOBAL PROPERTY BNX_CLAIMS)
    list(JOIN claims "\n" claims)
    file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/tests/claims.txt CONTENT "${claims}\n")
    foreach(rule IN LISTS BNX_STYLE_RULES)
        set(arguments)
        if(rule STREQUAL "claims")
            set(arguments ${PROJECT_BINARY_DIR}/tests/claims.txt)
        endif()
        bnx_script_test(style.${rule} LABELS style
            COMMAND ${BNX_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/check.py ${rule} ${arguments})
    endforeach()
    bnx_script_test(style.rules_notice LABELS style
        COMMAND ${BNX_PYTHON} ${CMAKE_CURRENT_LIST_DIR}/selftest.py)
endif()

if(BONXIE_PLANTS)
    file(STRINGS ${PROJECT_SOURCE_DIR}/tests/plants.txt lines REGEX "^[^#]")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/plants.txt)
    foreach(line IN LISTS lines)
        string(REGEX REPLACE "#.*" "" line "${line}")
        separate_arguments(line UNIX_COMMAND "${line}")
        list(LENGTH line fields)
        if(NOT fields EQUAL 3)
            continue()
        endif()
        list(GET line 0 plant)
        list(GET line 1 test)
        list(GET line 2 build)
        get_property(command GLOBAL PROPERTY "BNX_TEST_COMMAND_${test}")
        if(NOT build STREQUAL BONXIE_BUILD_NAME)
            continue()
        elseif(NOT command)
            message(FATAL_ERROR "tests/plants.txt: no test ${test} in the build ${build}")
        endif()
        bnx_script_test(plant.${plant} LABELS plants TIMEOUT 240
            COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/plant.sh ${plant} ${command})
    endforeach()
endif()
