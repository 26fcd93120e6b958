# The component bonxie::tls: TLS streams by OpenSSL, libbonxie-tls, built where OpenSSL is found.
cmake_dependent_option(BONXIE_TLS "Build the component tls where OpenSSL 3 is found" ON
    "BONXIE_IO;NOT CMAKE_CROSSCOMPILING" OFF)
if(NOT BONXIE_TLS)
    return()
endif()
find_package(OpenSSL 3.0 QUIET)
if(NOT OPENSSL_FOUND)
    message(STATUS "bonxie: no OpenSSL 3, so no component tls")
    return()
endif()

list(TRANSFORM BNX_TLS_SOURCES PREPEND ${PROJECT_SOURCE_DIR}/)
add_library(bonxie_tls SHARED ${BNX_TLS_SOURCES})
add_library(bonxie_tls_static STATIC ${BNX_TLS_SOURCES})
add_library(bonxie::tls ALIAS bonxie_tls)
add_library(bonxie::tls_static ALIAS bonxie_tls_static)
set_target_properties(bonxie_tls PROPERTIES
    OUTPUT_NAME bonxie-tls EXPORT_NAME tls VERSION ${PROJECT_VERSION} SOVERSION 0)
set_target_properties(bonxie_tls_static PROPERTIES OUTPUT_NAME bonxie-tls EXPORT_NAME tls_static)
target_link_libraries(bonxie_tls PUBLIC bonxie PRIVATE $<BUILD_INTERFACE:bonxie_options> OpenSSL::SSL)
target_link_libraries(bonxie_tls_static PUBLIC bonxie_static OpenSSL::SSL
    PRIVATE $<BUILD_INTERFACE:bonxie_options>)
foreach(library bonxie_tls bonxie_tls_static)
    target_include_directories(${library} PRIVATE ${PROJECT_SOURCE_DIR})
endforeach()
install(TARGETS bonxie_tls bonxie_tls_static EXPORT bonxie-tls-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
)
install(EXPORT bonxie-tls-targets NAMESPACE bonxie::
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/bonxie)
