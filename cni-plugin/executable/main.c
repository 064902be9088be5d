/* The CNI executable: CPython 3.11 with the modules that the shim imports and no other, and the shim's code in it.

   tools/plugin.py writes shim.h (SHIM: the shim, compiled and marshalled) and links this with CPython's static library.
   A usual start of Python looks for its library on the disk, imports codecs and opens text streams. The shim wants none
   of that, so initialization ends after the core ("Multi-Phase Initialization Private Provisional API", PEP 587). */

#include <Python.h>
#include <marshal.h>
#include <signal.h>
#include <unistd.h>

#include "shim.h"

PyObject *PyInit__imp(void);
PyObject *PyInit__socket(void);
PyObject *PyInit__thread(void);
PyObject *PyInit__weakref(void);
PyObject *PyInit_posix(void);
PyObject *_PyWarnings_Init(void);

/* The built-in modules, in place of the library's own table, so that only these are linked. All but the two that the
   shim imports are what `import` itself needs. */
struct _inittab _PyImport_Inittab[] = {
    {"_imp", PyInit__imp},         {"_socket", PyInit__socket},      {"_thread", PyInit__thread},
    {"_warnings", _PyWarnings_Init}, {"_weakref", PyInit__weakref}, {"posix", PyInit_posix},
    {"builtins", NULL},            {"sys", NULL},                    {NULL, NULL},
};

static const char FAILED[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"the CNI plugin slicer does not start\",\"details\":\"\"}\n";

/* The core of an interpreter that reads neither environment nor disk. */
static PyStatus start(void) {
    PyPreConfig before;
    PyConfig config;
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    PyStatus status = Py_PreInitialize(&before);
    if (PyStatus_Exception(status)) return status;
    PyConfig_InitIsolatedConfig(&config);
    config._init_main = 0;
    config.site_import = 0;
    config.module_search_paths_set = 1;
    config.executable = config.base_executable = config.program_name = L"";
    config.home = config.prefix = config.base_prefix = config.exec_prefix = config.base_exec_prefix = L"";
    return Py_InitializeFromConfig(&config);
}

int main(void) {
    /* As Python does: a reader that has gone is an error of the call, which the shim answers. */
    signal(SIGPIPE, SIG_IGN);
    if (!PyStatus_Exception(start())) {
        PyObject *shim = PyMarshal_ReadObjectFromString((const char *)SHIM, sizeof SHIM);
        PyObject *module = PyImport_AddModule("__main__");
        /* Ends the process itself, after everything is written. */
        if (shim && module) PyEval_EvalCode(shim, PyModule_GetDict(module), PyModule_GetDict(module));
    }
    return write(STDOUT_FILENO, FAILED, sizeof FAILED - 1) < 0 ? 2 : 1;
}
