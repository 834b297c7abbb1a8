// What libcuda.so.1 (cuda.cpp, threads.cpp) and the kernels that run on it say to each other.
#pragma once
#include <stddef.h>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {} };

enum GpuWait { GPU_BLOCK = 1, GPU_WARP = 2 };              // whom a thread waits for
enum GpuTouch { GPU_READ, GPU_WRITE, GPU_ATOMIC };         // how a thread touches memory
typedef void (*GpuVisit)(const void* first, long bytes);   // an array among a kernel's arguments; bytes = -1: only a pointer

extern "C" {
// Set before each thread runs:
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
extern char gpu_dynamic_shared[];

void gpu_wait(int whom);                                                  // __syncthreads, __syncwarp
void gpu_swap(const void* mine, void* theirs, size_t bytes, int lane);    // __shfl_…: what the warp's lane `lane` gives
int gpu_lane();                                                           // this thread's place in its warp
void gpu_touch(const void* address, size_t bytes, int how);               // a watched kernel is about to touch memory
}

// Each kernel's shared library has, for a kernel `k`:
//   void gpu_thread_k(void** arguments)              run one thread
//   void gpu_arguments_k(void** arguments, GpuVisit) name the arrays among the arguments
//   int gpu_sizes_k[]                                bytes of each argument, then 0
//   bool gpu_waits_k, gpu_watched_k                  whether its threads wait for each other, whether it calls gpu_touch
