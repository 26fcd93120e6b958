# Install rules, the CMake package (find_package(bonxie), target bonxie::bonxie) and the pkg-config file.
if(NOT BONXIE_IO)
    return()
endif()
include(CMakePackageConfigHelpers)

set(BNX_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/bonxie)
install(TARGETS bonxie bonxie_static EXPORT bonxie-targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime/include/ ${PROJECT_SOURCE_DIR}/io/include/
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(EXPORT bonxie-targets NAMESPACE bonxie:: DESTINATION ${BNX_PACKAGE_DIR})

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/bonxie-config.cmake.in
    ${PROJECT_BINARY_DIR}/bonxie-config.cmake INSTALL_DESTINATION ${BNX_PACKAGE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bonxie-config-version.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/bonxie-config.cmake
    ${PROJECT_BINARY_DIR}/bonxie-config-version.cmake DESTINATION ${BNX_PACKAGE_DIR})

configure_file(${PROJECT_SOURCE_DIR}/cmake/bonxie.pc.in ${PROJECT_BINARY_DIR}/bonxie.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bonxie.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
