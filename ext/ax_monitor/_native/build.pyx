"""How the kernels were compiled: what figures are worth depends on it."""

cdef extern from *:
    """
    #if defined(__clang__)
    #define AX_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define AX_COMPILER "gcc " __VERSION__
    #else
    #define AX_COMPILER "unknown compiler"
    #endif

    #if defined(__OPTIMIZE__) || (defined(_MSC_VER) && defined(NDEBUG))
    #define AX_OPTIMIZED ", optimised"
    #else
    #define AX_OPTIMIZED ", not optimised"
    #endif

    #if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    #define AX_SANITIZED ", with sanitizers"
    #else
    #define AX_SANITIZED ""
    #endif
    """
    const char *COMPILER "AX_COMPILER AX_OPTIMIZED AX_SANITIZED"

BUILD = COMPILER.decode()
