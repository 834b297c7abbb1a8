// CUDA's C++ as far as kernels need it, for g++. Forced in front of a kernel's source (nvrtc.cpp).
#pragma once
#include <cassert>
#include <cfloat>
#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include "gpu.h"

#define __device__
#define __global__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __constant__ static
#define __shared__ static  // one block runs at a time
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define GPU_UNWATCHED __attribute__((no_sanitize("thread")))
static const int warpSize = 32;

// Threads of a block wait for each other ------------------------------------------------------------------------------

static inline void __syncthreads() { gpu_wait(GPU_BLOCK); }
static inline void __syncwarp(unsigned = ~0u) { gpu_wait(GPU_WARP); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <class T> static T gpu_from(T x, int lane) { T y; gpu_swap(&x, &y, sizeof x, lane); return y; }
template <class T> T __shfl_sync(unsigned, T x, int from, int width = 32) {
  return gpu_from(x, (gpu_lane() & ~(width - 1)) + (from & (width - 1))); }
template <class T> T __shfl_xor_sync(unsigned, T x, int mask, int = 32) { return gpu_from(x, gpu_lane() ^ mask); }
template <class T> T __shfl_up_sync(unsigned, T x, unsigned by, int width = 32) {
  int lane = gpu_lane(), from = lane - (int)by; return gpu_from(x, from < (lane & ~(width - 1)) ? lane : from); }
template <class T> T __shfl_down_sync(unsigned, T x, unsigned by, int width = 32) {
  int lane = gpu_lane(), from = lane + (int)by; return gpu_from(x, from > (lane | (width - 1)) ? lane : from); }

// Atomics: one thread runs at a time, so plain code is atomic. They are not watched as plain accesses. ------------------

#define GPU_ATOMIC_FUNCTION(T, name, ...) \
  GPU_UNWATCHED __attribute__((noinline)) static T name(T* a, T v) { \
    GPU_TOUCH_ATOMIC(a) T old = *a; *a = (__VA_ARGS__); return old; }
#ifdef GPU_WATCHED
#define GPU_TOUCH_ATOMIC(a) gpu_touch(a, sizeof *a, GPU_ATOMIC);
#else
#define GPU_TOUCH_ATOMIC(a)
#endif
#define GPU_ATOMICS(T) GPU_ATOMIC_FUNCTION(T, atomicAdd, old + v) GPU_ATOMIC_FUNCTION(T, atomicExch, v)
#define GPU_INTEGER_ATOMICS(T) GPU_ATOMICS(T) \
  GPU_ATOMIC_FUNCTION(T, atomicSub, old - v) GPU_ATOMIC_FUNCTION(T, atomicMax, old > v ? old : v) \
  GPU_ATOMIC_FUNCTION(T, atomicMin, old < v ? old : v) GPU_ATOMIC_FUNCTION(T, atomicAnd, old & v) \
  GPU_ATOMIC_FUNCTION(T, atomicOr, old | v) GPU_ATOMIC_FUNCTION(T, atomicXor, old ^ v) \
  GPU_UNWATCHED __attribute__((noinline)) static T atomicCAS(T* a, T expected, T v) { \
    GPU_TOUCH_ATOMIC(a) T old = *a; if (old == expected) *a = v; return old; }
GPU_ATOMICS(float) GPU_ATOMICS(double)
GPU_INTEGER_ATOMICS(int) GPU_INTEGER_ATOMICS(unsigned) GPU_INTEGER_ATOMICS(unsigned long long)

// Numbers -------------------------------------------------------------------------------------------------------------

template <class A, class B> static A gpu_bits(B b) { static_assert(sizeof(A) == sizeof b, ""); A a; memcpy(&a, &b, sizeof a); return a; }
static inline unsigned short __float2half_rn(float x) { return gpu_bits<unsigned short>((_Float16)x); }
static inline float __half2float(unsigned short x) { return gpu_bits<_Float16>(x); }
static inline int __float_as_int(float x) { return gpu_bits<int>(x); }
static inline float __int_as_float(int x) { return gpu_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return gpu_bits<unsigned>(x); }
static inline float __uint_as_float(unsigned x) { return gpu_bits<float>(x); }
static inline long long __double_as_longlong(double x) { return gpu_bits<long long>(x); }
static inline double __longlong_as_double(long long x) { return gpu_bits<double>(x); }
static inline int __double2hiint(double x) { return (int)(gpu_bits<unsigned long long>(x) >> 32); }
static inline int __double2loint(double x) { return (int)gpu_bits<unsigned long long>(x); }
static inline double __hiloint2double(int h, int l) { return gpu_bits<double>((unsigned long long)(unsigned)h << 32 | (unsigned)l); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mul24(int a, int b) { return a * b; }
static inline int __float2int_rn(float x) { return (int)lrintf(x); }
static inline long long __float2ll_rn(float x) { return llrintf(x); }
static inline long long __double2ll_rn(double x) { return llrint(x); }
static inline unsigned long long __float2ull_rn(float x) { return (unsigned long long)llrintf(x); }
static inline unsigned long long __double2ull_rn(double x) { return (unsigned long long)llrint(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1 / x; }
#define __expf expf
#define __logf logf
#define __powf powf
static inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
static inline float rsqrt(float x) { return 1 / std::sqrt(x); }
static inline double rsqrt(double x) { return 1 / std::sqrt(x); }
template <class T> static T __ldg(const T* p) { return *p; }
template <class T> static T __ldcg(const T* p) { return *p; }
template <class T> static T __ldcs(const T* p) { return *p; }
using std::isnan; using std::isinf; using std::isfinite; using std::signbit; using std::abs;
// of mixed integer types, and fmin and fmax for floats
template <class A, class B, class C = std::common_type_t<A, B>> static C min(A a, B b) {
  if constexpr (std::is_floating_point_v<C>) return std::fmin((C)a, (C)b); else return (C)a < (C)b ? (C)a : (C)b; }
template <class A, class B, class C = std::common_type_t<A, B>> static C max(A a, B b) {
  if constexpr (std::is_floating_point_v<C>) return std::fmax((C)a, (C)b); else return (C)a > (C)b ? (C)a : (C)b; }

// CUDA's vectors, loaded and stored at once
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) double2 { double x, y; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline double2 make_double2(double x, double y) { return {x, y}; }

// CuPy's own headers, so that they are compiled once (all.h.gch) ---------------------------------------------------------

struct half; static unsigned short __half_as_ushort(const half&); static half __ushort_as_half(unsigned short);
#include <cupy/float16.cuh>
static inline unsigned short __half_as_ushort(const half& h) { unsigned short u; memcpy(&u, &h, 2); return u; }
static inline half __ushort_as_half(unsigned short u) { __half_raw r = {u}; return half(r); }
#include <cupy/complex.cuh>
#include <cupy/carray.cuh>
#include <cupy/atomics.cuh>
#include <cupy/math_constants.h>

// How libcuda.so.1 calls a kernel (gpu.h) ------------------------------------------------------------------------------

namespace gpu {
template <class T> using Plain = std::remove_cv_t<std::remove_reference_t<T>>;

// The arrays among the arguments. Broadcast dims (of stride 0) are no memory of their own.
template <class T> void visit(const T&, GpuVisit) {}
template <class T> void visit(T* const& p, GpuVisit see) { see(p, -1); }
template <class T, int n, bool c, bool i> void visit(const CArray<T, n, c, i>& a, GpuVisit see) {
  long bytes = a.size() ? sizeof(T) : 0;
  if constexpr (n > 0) for (int k = 0; k < n; k++) if (a.strides()[k]) bytes *= a.shape()[k];
  if (bytes) see(&const_cast<CArray<T, n, c, i>&>(a)[(ptrdiff_t)0], bytes);
}

template <class F> struct Kernel;
template <class... A> struct Kernel<void (*)(A...)> {
  template <size_t... I> GPU_UNWATCHED static void call(void (*f)(A...), void** p, std::index_sequence<I...>) { f(*(Plain<A>*)p[I]...); }
  template <size_t... I> static void see(void** p, GpuVisit v, std::index_sequence<I...>) { (visit(*(Plain<A>*)p[I], v), ...); }
  using Places = std::index_sequence_for<A...>;
  struct Sizes { int of[sizeof...(A) + 1]; };
  static constexpr Sizes sizes() { return {{sizeof(Plain<A>)..., 0}}; }
};
}  // namespace gpu

#ifdef GPU_WATCHED
#define GPU_IS_WATCHED true
#else
#define GPU_IS_WATCHED false
#endif
#define GPU_ENTRY(symbol, function, waits) \
  using gpu_type_##symbol = gpu::Kernel<decltype(function)>; \
  extern "C" GPU_UNWATCHED void gpu_thread_##symbol(void** p) { gpu_type_##symbol::call(function, p, gpu_type_##symbol::Places{}); } \
  extern "C" void gpu_arguments_##symbol(void** p, GpuVisit v) { gpu_type_##symbol::see(p, v, gpu_type_##symbol::Places{}); } \
  extern "C" const gpu_type_##symbol::Sizes gpu_sizes_##symbol = gpu_type_##symbol::sizes(); \
  extern "C" const bool gpu_waits_##symbol = waits, gpu_watched_##symbol = GPU_IS_WATCHED;

#ifdef GPU_WATCHED
// g++ -fsanitize=thread calls these before each access to memory; its own library, libtsan, is not linked.
extern "C" {
#define GPU_HOOK GPU_UNWATCHED __attribute__((visibility("hidden"))) void
#define GPU_HOOKS(n) \
  GPU_HOOK __tsan_read##n(void* p) { gpu_touch(p, n, GPU_READ); } \
  GPU_HOOK __tsan_write##n(void* p) { gpu_touch(p, n, GPU_WRITE); } \
  GPU_HOOK __tsan_unaligned_read##n(void* p) { gpu_touch(p, n, GPU_READ); } \
  GPU_HOOK __tsan_unaligned_write##n(void* p) { gpu_touch(p, n, GPU_WRITE); } \
  GPU_HOOK __tsan_volatile_read##n(void* p) { gpu_touch(p, n, GPU_ATOMIC); } \
  GPU_HOOK __tsan_volatile_write##n(void* p) { gpu_touch(p, n, GPU_ATOMIC); }
GPU_HOOKS(1) GPU_HOOKS(2) GPU_HOOKS(4) GPU_HOOKS(8) GPU_HOOKS(16)
GPU_HOOK __tsan_read_range(void* p, size_t n) { gpu_touch(p, n, GPU_READ); }
GPU_HOOK __tsan_write_range(void* p, size_t n) { gpu_touch(p, n, GPU_WRITE); }
GPU_HOOK __tsan_init() {}
GPU_HOOK __tsan_func_entry(void*) {}
GPU_HOOK __tsan_func_exit() {}
GPU_HOOK __tsan_vptr_update(void**, void*) {}
}
#endif
