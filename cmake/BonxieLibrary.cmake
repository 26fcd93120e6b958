# The library: an object library each for runtime and io, both in libbonxie.so.0 and in libbonxie.a.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
include(CheckLinkerFlag)

# Concurrency Kit: its event counts have a slow path in the library, all else is inline. -idirafter,
# because in a cross build the directory is the host's /usr/include and must not come before the
# target's own.
find_path(BNX_CK_INCLUDE_DIR ck_queue.h DOC "The directory of Concurrency Kit's ck_queue.h" REQUIRED)
find_library(BNX_CK_LIBRARY ck DOC "Concurrency Kit's library" REQUIRED)
mark_as_advanced(BNX_CK_INCLUDE_DIR BNX_CK_LIBRARY)

if(BONXIE_IO)
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(LIBURING REQUIRED IMPORTED_TARGET liburing>=2.3)
endif()

# Include directories and macros of everything that may see the inside.
add_library(bonxie_internal INTERFACE)
target_include_directories(bonxie_internal INTERFACE
    ${PROJECT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/runtime/include
    ${PROJECT_SOURCE_DIR}/io/include
)
target_compile_options(bonxie_internal INTERFACE "SHELL:-idirafter ${BNX_CK_INCLUDE_DIR}")
target_link_libraries(bonxie_internal INTERFACE bonxie_options Threads::Threads ${BNX_CK_LIBRARY})

include(BonxieSize)
list(TRANSFORM BNX_RUNTIME_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
list(TRANSFORM BNX_IO_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)

add_library(bonxie_runtime OBJECT ${BNX_RUNTIME_SOURCES})
target_link_libraries(bonxie_runtime PRIVATE bonxie_internal)
set_target_properties(bonxie_runtime PROPERTIES POSITION_INDEPENDENT_CODE ON)
set(BNX_OBJECTS $<TARGET_OBJECTS:bonxie_runtime>)

if(BONXIE_IO AND BNX_IO_SOURCES)
    add_library(bonxie_io OBJECT ${BNX_IO_SOURCES})
    target_link_libraries(bonxie_io PRIVATE bonxie_internal PkgConfig::LIBURING)
    set_target_properties(bonxie_io PROPERTIES POSITION_INDEPENDENT_CODE ON)
    list(APPEND BNX_OBJECTS $<TARGET_OBJECTS:bonxie_io>)
endif()

# Without io/ the runtime has no driver: a test's own takes its place, and there is no library to ship.
if(BONXIE_IO)
    add_library(bonxie SHARED ${BNX_OBJECTS})
    add_library(bonxie_static STATIC ${BNX_OBJECTS})
    add_library(bonxie::bonxie ALIAS bonxie)
    add_library(bonxie::static ALIAS bonxie_static)
    set_target_properties(bonxie PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 0)
    set_target_properties(bonxie_static PROPERTIES OUTPUT_NAME bonxie EXPORT_NAME static)
    foreach(library bonxie bonxie_static)
        target_include_directories(${library} INTERFACE
            $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/runtime/include>
            $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/io/include>
            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
        )
    endforeach()
    target_link_libraries(bonxie PRIVATE
        $<BUILD_INTERFACE:bonxie_options> Threads::Threads ${BNX_CK_LIBRARY})
    target_link_libraries(bonxie_static PUBLIC Threads::Threads)
    target_link_libraries(bonxie_static INTERFACE
        $<BUILD_INTERFACE:${BNX_CK_LIBRARY}> $<INSTALL_INTERFACE:ck>)
    # A look-up of a name that everybody has given up goes on in a thread: dlclose(3) leaves the code.
    target_link_options(bonxie PRIVATE -Wl,-z,nodelete)
    # The library's own calls of its public functions go straight to them, not through the PLT.
    target_link_options(bonxie PRIVATE -Wl,-Bsymbolic-functions)
    # Constants lie on the pages of the code, without a gap of up to a page before and after that.
    check_linker_flag(C -Wl,-z,noseparate-code BNX_HAVE_NOSEPARATE_CODE)
    if(BNX_HAVE_NOSEPARATE_CODE)
        target_link_options(bonxie PRIVATE -Wl,-z,noseparate-code)
    endif()
    # A pointer to be relocated takes a bit instead of 24 bytes; known to the loader since glibc 2.36.
    check_linker_flag(C -Wl,-z,pack-relative-relocs BNX_HAVE_RELR)
    if(BNX_HAVE_RELR)
        target_link_options(bonxie PRIVATE -Wl,-z,pack-relative-relocs)
    endif()
    if(TARGET bonxie_io)
        target_link_libraries(bonxie PRIVATE PkgConfig::LIBURING)
        target_link_libraries(bonxie_static INTERFACE
            $<BUILD_INTERFACE:PkgConfig::LIBURING> $<INSTALL_INTERFACE:uring>)
        if(NOT BONXIE_SANITIZE)
            # A name that nobody defines fails here, not at the user's start.
            target_link_options(bonxie PRIVATE -Wl,-z,defs)
        endif()
    endif()
endif()
