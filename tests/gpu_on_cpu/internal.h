// What the parts of libcuda.so.1 and libcublas.so.13 say to each other.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

typedef uintptr_t Address;

// memory.cpp: what was allocated
struct Piece { Address first; size_t bytes; int device; bool on_gpu; };   // on_gpu: else it is pinned memory of the host
const Piece* piece_at(Address);                                           // the piece that holds this address, or null
const Piece* piece_before(Address);                                       // the last one that begins at or before it
extern thread_local int current_device;
int fail(int error, const std::string& why);                              // sets what cudaGetErrorString will say

// work.cpp: what was asked for: done at once, or kept where a stream is captured, or only counted in a dry run
extern bool dry;                                                          // count, don't compute
void note(const char* format, ...);                                       // a line in the trace, if one is written
typedef std::function<int()> Work;                                        // an error, or 0
int enqueue(void* stream, Work);
extern "C" void gpu_finish();                                             // all that was asked for, now

// threads.cpp: how a kernel runs
struct Kernel {
  std::string name;
  void (*thread)(void**);
  void (*arguments)(void**, void (*)(const void*, long));
  const int* sizes;
  bool waits, watched;
};
struct Range { Address first, end; };
Range range_of(const void* symbol);                                       // where the library lies that has this symbol
std::string run(const Kernel&, const unsigned shape[6], size_t shared, void** arguments);  // what it did wrong, or ""
