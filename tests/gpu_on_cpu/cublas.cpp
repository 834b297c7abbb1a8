// libcublas.so.13: matrix products by loops, as far as CuPy asks for them; matrices are column-major. Where the compute
// type is TF32, the factors are rounded to its 10 bits, so that a switch for it can be tested. What CuPy links to and is
// not here fails with its name (building.py).
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "internal.h"

enum { F32, F64, F16 };                 // cudaDataType
enum { FAST_TF32 = 77, TF32_MATH = 3 }; // cublasComputeType, cublasMath

struct Matrix {
  char* data; int type; long leading; bool transposed;
  size_t bytes() const { return type == F64 ? 8 : type == F32 ? 4 : 2; }
  char* at(long i, long j) const { return data + bytes() * (transposed ? j + i * leading : i + j * leading); }
  double get(long i, long j) const {
    char* p = at(i, j);
    return type == F64 ? *(double*)p : type == F32 ? *(float*)p : (double)*(_Float16*)p; }
  void set(long i, long j, double x) const {
    char* p = at(i, j);
    if (type == F64) *(double*)p = x; else if (type == F32) *(float*)p = x; else *(_Float16*)p = x; }
};

static float tf32(float x) { uint32_t bits; memcpy(&bits, &x, 4); bits = (bits + 0x1000) & 0xffffe000; memcpy(&x, &bits, 4); return x; }

// C (m, n) = alpha · A (m, k) · B (k, n) + beta · C, added up in the accumulator's type
template <class T> static void product(long m, long n, long k, double alpha, Matrix A, Matrix B, double beta, Matrix C, bool rounded) {
  std::vector<T> a((size_t)m * k), sum(m);
  for (long p = 0; p < k; p++) for (long i = 0; i < m; i++) { a[p * m + i] = A.get(i, p); if (rounded) a[p * m + i] = tf32(a[p * m + i]); }
  for (long j = 0; j < n; j++) {
    std::fill(sum.begin(), sum.end(), 0);
    for (long p = 0; p < k; p++) {
      T b = B.get(p, j); if (rounded) b = tf32(b);
      for (long i = 0; i < m; i++) sum[i] += a[p * m + i] * b;
    }
    for (long i = 0; i < m; i++) C.set(i, j, alpha * sum[i] + (beta ? beta * C.get(i, j) : 0));
  }
}

static thread_local void* stream; static int math_mode;

static int status(int error) { return error ? 13 : 0; }  // CUBLAS_STATUS_EXECUTION_FAILED

static int gemm(const char* name, long m, long n, long k, double alpha, Matrix A, Matrix B, double beta, Matrix C, int compute = 0) {
  bool rounded = C.type == F32 && (compute == FAST_TF32 || math_mode == TF32_MATH);
  note("PRODUCT %s bytes=%zu flops=%ld tf32=%d\n", name, A.bytes() * (m * k + k * n) + C.bytes() * m * n, 2 * m * n * k, rounded);
  if (dry) return 0;
  return status(enqueue(stream, [=] {
    for (auto& matrix : {A, B, C}) if (!piece_at((Address)matrix.data)) return fail(700, "a product of memory that was given back");
    if (C.type == F64) product<double>(m, n, k, alpha, A, B, beta, C, false); else product<float>(m, n, k, alpha, A, B, beta, C, rounded);
    return 0;
  }));
}
static Matrix matrix(const void* p, int type, long leading, int transposed) { return {(char*)p, type, leading, transposed != 0}; }
static double scalar(const void* p, int type) { return type == F64 ? *(const double*)p : *(const float*)p; }

extern "C" {
int cublasCreate_v2(void** h) { *h = malloc(8); return 0; }
int cublasDestroy_v2(void* h) { free(h); return 0; }
int cublasSetStream_v2(void*, void* s) { stream = s; return 0; }
int cublasGetStream_v2(void*, void** s) { *s = stream; return 0; }
int cublasSetWorkspace_v2(void*, void*, size_t) { return 0; }
int cublasSetMathMode(void*, int m) { math_mode = m; return 0; }
int cublasGetMathMode(void*, int* m) { *m = math_mode; return 0; }
static int pointer_mode;  // scalars of the host or of the GPU: here both are addresses
int cublasSetPointerMode_v2(void*, int m) { pointer_mode = m; return 0; }
int cublasGetPointerMode_v2(void*, int* m) { *m = pointer_mode; return 0; }
int cublasGetVersion_v2(void*, int* v) { *v = 130200; return 0; }

int cublasGemmEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int At, int lda, const void* B, int Bt, int ldb, const void* beta, void* C, int Ct, int ldc, int compute, int) {
  return gemm("GemmEx", m, n, k, scalar(alpha, Ct), matrix(A, At, lda, ta), matrix(B, Bt, ldb, tb), scalar(beta, Ct), matrix(C, Ct, ldc, 0), compute); }
int cublasSgemmEx(void*, int ta, int tb, int m, int n, int k, const float* alpha, const void* A, int At, int lda, const void* B, int Bt, int ldb, const float* beta, void* C, int Ct, int ldc) {
  return gemm("SgemmEx", m, n, k, *alpha, matrix(A, At, lda, ta), matrix(B, Bt, ldb, tb), *beta, matrix(C, Ct, ldc, 0)); }
int cublasGemmStridedBatchedEx(void*, int ta, int tb, int m, int n, int k, const void* alpha, const void* A, int At, int lda, long long sa, const void* B, int Bt, int ldb, long long sb, const void* beta, void* C, int Ct, int ldc, long long sc, int count, int compute, int) {
  Matrix a = matrix(A, At, lda, ta), b = matrix(B, Bt, ldb, tb), c = matrix(C, Ct, ldc, 0);
  for (int i = 0; i < count; i++, a.data += sa * a.bytes(), b.data += sb * b.bytes(), c.data += sc * c.bytes())
    if (int error = gemm("GemmStridedBatchedEx", m, n, k, scalar(alpha, Ct), a, b, scalar(beta, Ct), c, compute)) return error;
  return 0; }

#define FOR_TYPE(L, T, type) \
int cublas##L##gemm_v2(void*, int ta, int tb, int m, int n, int k, const T* alpha, const T* A, int lda, const T* B, int ldb, const T* beta, T* C, int ldc) { \
  return gemm(#L "gemm", m, n, k, *alpha, matrix(A, type, lda, ta), matrix(B, type, ldb, tb), *beta, matrix(C, type, ldc, 0)); } \
int cublas##L##gemmBatched(void*, int ta, int tb, int m, int n, int k, const T* alpha, const T* const* A, int lda, const T* const* B, int ldb, const T* beta, T* const* C, int ldc, int count) { \
  for (int i = 0; i < count; i++) gemm(#L "gemmBatched", m, n, k, *alpha, matrix(A[i], type, lda, ta), matrix(B[i], type, ldb, tb), *beta, matrix(C[i], type, ldc, 0)); \
  return 0; } \
int cublas##L##gemv_v2(void*, int t, int m, int n, const T* alpha, const T* A, int lda, const T* x, int ix, const T* beta, T* y, int iy) { \
  return gemm(#L "gemv", t ? n : m, 1, t ? m : n, *alpha, matrix(A, type, lda, t), matrix(x, type, ix, 1), *beta, matrix(y, type, iy, 1)); } \
int cublas##L##dot_v2(void*, int n, const T* x, int ix, const T* y, int iy, T* z) { \
  return gemm(#L "dot", 1, 1, n, 1, matrix(x, type, ix, 0), matrix(y, type, iy, 1), 0, matrix(z, type, 1, 0)); } \
int cublas##L##geam(void*, int ta, int tb, int m, int n, const T* alpha, const T* A, int lda, const T* beta, const T* B, int ldb, T* C, int ldc) { \
  Matrix a = matrix(A, type, lda, ta), b = matrix(B, type, ldb, tb), c = matrix(C, type, ldc, 0); T p = *alpha, q = *beta; \
  note("PRODUCT " #L "geam bytes=%zu flops=0 tf32=0\n", sizeof(T) * m * n * ((p != 0) + (q != 0) + 1)); \
  if (!dry) return status(enqueue(stream, [=] { for (long j = 0; j < n; j++) for (long i = 0; i < m; i++) c.set(i, j, (p ? p * a.get(i, j) : 0) + (q ? q * b.get(i, j) : 0)); return 0; })); \
  return 0; }
FOR_TYPE(S, float, F32)
FOR_TYPE(D, double, F64)
}
