// libcusolver.so.12, and what libcublas.so.13 has of it: linear algebra by LAPACK, the one in NumPy's wheel (its names
// begin with scipy_, its integers have 64 bits). Matrices are column-major here and there.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "internal.h"

typedef int64_t Int;
#define LAPACK(T, l) extern "C" { \
  void scipy_##l##getrf_64_(Int* m, Int* n, T* a, Int* lda, Int* pivots, Int* info); \
  void scipy_##l##getrs_64_(const char* trans, Int* n, Int* nrhs, const T* a, Int* lda, Int* pivots, T* b, Int* ldb, Int* info, size_t); \
  void scipy_##l##getri_64_(Int* n, T* a, Int* lda, Int* pivots, T* work, Int* lwork, Int* info); \
  void scipy_##l##potrf_64_(const char* uplo, Int* n, T* a, Int* lda, Int* info, size_t); \
  void scipy_##l##geqrf_64_(Int* m, Int* n, T* a, Int* lda, T* tau, T* work, Int* lwork, Int* info); \
  void scipy_##l##orgqr_64_(Int* m, Int* n, Int* k, T* a, Int* lda, const T* tau, T* work, Int* lwork, Int* info); \
  void scipy_##l##gesvd_64_(const char* u, const char* vt, Int* m, Int* n, T* a, Int* lda, T* s, T* U, Int* ldu, T* VT, Int* ldvt, T* work, Int* lwork, Int* info, size_t, size_t); \
  void scipy_##l##syev_64_(const char* job, const char* uplo, Int* n, T* a, Int* lda, T* w, T* work, Int* lwork, Int* info, size_t, size_t); }
LAPACK(float, s)
LAPACK(double, d)

static std::vector<Int> wide(const int* p, int n) { return std::vector<Int>(p, p + n); }
static const char* triangle(int fill) { return fill == 0 ? "L" : "U"; }   // cublasFillMode
static const char* vectors(int mode) { return mode ? "V" : "N"; }         // cusolverEigMode
enum { FREE_WORK = 1 };                                                   // we bring our own

// CuPy asks for a solver's handle, stream, parameters and memory to work in; nothing of it is needed here.
#define ACCEPT(name) int name(...) { return 0; }
#define NO_WORK(name, T, ...) int name(__VA_ARGS__, T* bytes) { *bytes = FREE_WORK; return 0; }

#define FOR_TYPE(L, l, T) \
static Int l##getrf(Int m, Int n, T* a, Int lda, int* pivots) { \
  std::vector<Int> p(std::min(m, n)); Int info; scipy_##l##getrf_64_(&m, &n, a, &lda, p.data(), &info); \
  if (pivots) std::copy(p.begin(), p.end(), pivots); return info; } \
static Int l##syev(int job, int uplo, Int n, T* a, Int lda, T* w) { \
  Int info, size = 34 * n + 8; std::vector<T> work(size); \
  scipy_##l##syev_64_(vectors(job), triangle(uplo), &n, a, &lda, w, work.data(), &size, &info, 1, 1); return info; } \
extern "C" { \
NO_WORK(cusolverDn##L##getrf_bufferSize, int, void*, int, int, T*, int) \
NO_WORK(cusolverDn##L##potrf_bufferSize, int, void*, int, int, T*, int) \
NO_WORK(cusolverDn##L##geqrf_bufferSize, int, void*, int, int, T*, int) \
NO_WORK(cusolverDn##L##orgqr_bufferSize, int, void*, int, int, int, const T*, int, const T*) \
NO_WORK(cusolverDn##L##gesvd_bufferSize, int, void*, int, int) \
NO_WORK(cusolverDn##L##syevd_bufferSize, int, void*, int, int, int, const T*, int, const T*) \
int cusolverDn##L##syevjBatched_bufferSize(void*, int, int, int, const T*, int, const T*, int* bytes, void*, int) { *bytes = FREE_WORK; return 0; } \
int cusolverDn##L##syevj_bufferSize(void*, int, int, int, const T*, int, const T*, int* bytes, void*) { *bytes = FREE_WORK; return 0; } \
int cusolverDn##L##gesvdjBatched_bufferSize(void*, int, int, int, T*, int, T*, T*, int, T*, int, int* bytes, void*, int) { *bytes = FREE_WORK; return 0; } \
int cusolverDn##L##getrf(void*, int m, int n, T* a, int lda, T*, int* pivots, int* info) { *info = l##getrf(m, n, a, lda, pivots); return 0; } \
int cusolverDn##L##getrs(void*, int trans, int n, int nrhs, const T* a, int lda, const int* pivots, T* b, int ldb, int* info) { \
  Int N = n, R = nrhs, A = lda, B = ldb, i; auto p = wide(pivots, n); \
  scipy_##l##getrs_64_(trans ? "T" : "N", &N, &R, a, &A, p.data(), b, &B, &i, 1); *info = i; return 0; } \
int cusolverDn##L##potrf(void*, int uplo, int n, T* a, int lda, T*, int, int* info) { \
  Int N = n, A = lda, i; scipy_##l##potrf_64_(triangle(uplo), &N, a, &A, &i, 1); *info = i; return 0; } \
int cusolverDn##L##potrfBatched(void* h, int uplo, int n, T** a, int lda, int* info, int count) { \
  for (int i = 0; i < count; i++) cusolverDn##L##potrf(h, uplo, n, a[i], lda, nullptr, 0, info + i); \
  return 0; } \
int cusolverDn##L##geqrf(void*, int m, int n, T* a, int lda, T* tau, T*, int, int* info) { \
  Int M = m, N = n, A = lda, i, size = 64 * n; std::vector<T> work(size); \
  scipy_##l##geqrf_64_(&M, &N, a, &A, tau, work.data(), &size, &i); *info = i; return 0; } \
int cusolverDn##L##orgqr(void*, int m, int n, int k, T* a, int lda, const T* tau, T*, int, int* info) { \
  Int M = m, N = n, K = k, A = lda, i, size = 64 * n; std::vector<T> work(size); \
  scipy_##l##orgqr_64_(&M, &N, &K, a, &A, tau, work.data(), &size, &i); *info = i; return 0; } \
int cusolverDn##L##gesvd(void*, signed char ju, signed char jv, int m, int n, T* a, int lda, T* s, T* U, int ldu, T* VT, int ldvt, T*, int, T*, int* info) { \
  Int M = m, N = n, A = lda, u = ldu, v = ldvt, i, size = 8 * (m + n) + 64 * (m + n); std::vector<T> work(size); char cu = ju, cv = jv; \
  scipy_##l##gesvd_64_(&cu, &cv, &M, &N, a, &A, s, U, &u, VT, &v, work.data(), &size, &i, 1, 1); *info = i; return 0; } \
int cusolverDn##L##syevd(void*, int job, int uplo, int n, T* a, int lda, T* w, T*, int, int* info) { *info = l##syev(job, uplo, n, a, lda, w); return 0; } \
int cusolverDn##L##syevj(void*, int job, int uplo, int n, T* a, int lda, T* w, T*, int, int* info, void*) { *info = l##syev(job, uplo, n, a, lda, w); return 0; } \
int cusolverDn##L##syevjBatched(void*, int job, int uplo, int n, T* a, int lda, T* w, T*, int, int* info, void*, int count) { \
  for (int i = 0; i < count; i++) info[i] = l##syev(job, uplo, n, a + (size_t)i * lda * n, lda, w + (size_t)i * n); \
  return 0; } \
int cusolverDn##L##gesvdjBatched(void*, int job, int m, int n, T* a, int lda, T* s, T* U, int ldu, T* V, int ldv, T*, int, int* info, void*, int count) { \
  int k = std::min(m, n); std::vector<T> vt((size_t)n * n); \
  for (int i = 0; i < count; i++) { \
    cusolverDn##L##gesvd(nullptr, job ? 'A' : 'N', job ? 'A' : 'N', m, n, a + (size_t)i * lda * n, lda, s + (size_t)i * k, U + (size_t)i * ldu * m, ldu, vt.data(), n, nullptr, 0, nullptr, info + i); \
    for (int r = 0; job && r < n; r++) for (int c = 0; c < n; c++) V[(size_t)i * ldv * n + r + (size_t)c * ldv] = vt[c + (size_t)r * n]; } \
  return 0; } \
int cublas##L##getrfBatched(void*, int n, T** a, int lda, int* pivots, int* info, int count) { \
  gpu_finish(); \
  for (int i = 0; i < count; i++) info[i] = l##getrf(n, n, a[i], lda, pivots ? pivots + i * n : nullptr); \
  return 0; } \
int cublas##L##getrsBatched(void* h, int trans, int n, int nrhs, const T** a, int lda, const int* pivots, T** b, int ldb, int* info, int count) { \
  for (int i = 0; i < count; i++) cusolverDn##L##getrs(h, trans, n, nrhs, a[i], lda, pivots + i * n, b[i], ldb, info); \
  return 0; } \
int cublas##L##getriBatched(void*, int n, const T** a, int lda, int* pivots, T** c, int ldc, int* info, int count) { \
  Int N = n, C = ldc, size = 64 * n, found; std::vector<T> work(size); \
  for (int i = 0; i < count; i++) { \
    for (int j = 0; j < n; j++) memcpy(c[i] + (size_t)j * ldc, a[i] + (size_t)j * lda, n * sizeof(T)); \
    auto p = wide(pivots + i * n, n); scipy_##l##getri_64_(&N, c[i], &C, p.data(), work.data(), &size, &found); info[i] = found; } \
  return 0; } }
FOR_TYPE(S, s, float)
FOR_TYPE(D, d, double)

extern "C" {
int cusolverDnSetStream(void*, void*) { gpu_finish(); return 0; }  // CuPy calls it before each of the others
int cusolverSpSetStream(void*, void*) { gpu_finish(); return 0; }
int cusolverDnCreate(void** h) { *h = malloc(8); return 0; }
int cusolverSpCreate(void** h) { *h = malloc(8); return 0; }
int cusolverDnCreateParams(void** p) { *p = malloc(8); return 0; }
int cusolverDnCreateSyevjInfo(void** p) { *p = malloc(8); return 0; }
int cusolverDnCreateGesvdjInfo(void** p) { *p = malloc(8); return 0; }
ACCEPT(cusolverDnDestroy) ACCEPT(cusolverSpDestroy) ACCEPT(cusolverDnDestroyParams) ACCEPT(cusolverDnDestroySyevjInfo)
ACCEPT(cusolverDnDestroyGesvdjInfo) ACCEPT(cusolverDnXsyevjSetTolerance)
ACCEPT(cusolverDnXsyevjSetMaxSweeps) ACCEPT(cusolverDnXsyevjSetSortEig) ACCEPT(cusolverDnXgesvdjSetTolerance)
ACCEPT(cusolverDnXgesvdjSetMaxSweeps) ACCEPT(cusolverDnXgesvdjSetSortEig)
int cusolverGetProperty(int which, int* value) { *value = which == 0 ? 12 : 0; return 0; }
int cusolverDnXsyevd_bufferSize(void*, void*, int, int, Int, int, void*, Int, int, void*, int, size_t* device, size_t* host) { *device = *host = 8; return 0; }
int cusolverDnXsyevd(void*, void*, int job, int uplo, Int n, int type, void* a, Int lda, int, void* w, int, void*, size_t, void*, size_t, int* info) {
  *info = type == 1 ? dsyev(job, uplo, n, (double*)a, lda, (double*)w) : ssyev(job, uplo, n, (float*)a, lda, (float*)w); return 0; }
}
