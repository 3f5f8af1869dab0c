/*
 * A PKCS#11 library in front of another one, for tests of what a real library does rarely: it writes
 * each C_Login and C_Decrypt to the file "calls" in GYRE_SPY_DIR, never returns from C_Decrypt while
 * a file "hang" is there to be taken away, and answers CKR_SESSION_HANDLE_INVALID once for a file
 * "session-lost". GYRE_SPY_REAL is the library that does the work.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pkcs11.h"

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST spied;

static void spy_path(char *out, size_t size, const char *name) {
  snprintf(out, size, "%s/%s", getenv("GYRE_SPY_DIR"), name);
}

static void record(const char *line) {
  char path[4096];
  spy_path(path, sizeof path, "calls");
  int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (file < 0 || write(file, line, strlen(line)) < 0) abort();
  close(file);
}

static int take(const char *name) {
  char path[4096];
  spy_path(path, sizeof path, name);
  return unlink(path) == 0;
}

static CK_RV spy_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin,
                       CK_ULONG length) {
  record("login\n");
  return real->C_Login(session, user, pin, length);
}

static CK_RV spy_decrypt(CK_SESSION_HANDLE session, CK_BYTE_PTR input, CK_ULONG input_length,
                         CK_BYTE_PTR output, CK_ULONG_PTR output_length) {
  int hang = take("hang");
  record(hang ? "decrypt hangs\n" : "decrypt\n");
  while (hang) sleep(60);
  if (take("session-lost")) return CKR_SESSION_HANDLE_INVALID;
  return real->C_Decrypt(session, input, input_length, output, output_length);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list) {
  void *library = dlopen(getenv("GYRE_SPY_REAL"), RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return CKR_GENERAL_ERROR;
  CK_C_GetFunctionList get = (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList");
  if (get == NULL || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
  spied = *real;
  spied.C_Login = spy_login;
  spied.C_Decrypt = spy_decrypt;
  *list = &spied;
  return CKR_OK;
}
