// libcuda.so.1: CUDA's runtime and driver, for a GPU that is this CPU, as far as CuPy asks for them. Memory is malloc's,
// a module is a shared library that g++ made of the kernel's source (nvrtc.cpp), and a launch is a call (threads.cpp).
// Everything is done before the call returns, but copies from pinned memory: they are done as late as CUDA may do them,
// so that whoever does not wait for one sees it. What CuPy links to and is not here fails with its name (building.py).
#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dlfcn.h>
#include <elf.h>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <unistd.h>
#include <vector>
#include "cupy_runtime.h"  // made by building.py: cupy_types.h and cudaDeviceProp
#include "internal.h"

static size_t setting(const char* name, size_t otherwise) { const char* s = getenv(name); return s ? strtoull(s, nullptr, 0) : otherwise; }
static const int devices = setting("GPU_ON_CPU_DEVICES", 1);
static const size_t memory = setting("GPU_ON_CPU_MEMORY", 80ull << 30);   // bytes of each device
static const bool poison = setting("GPU_ON_CPU_POISON", 0);               // fresh memory is full of NaN
static const int UNITS = 132;                                             // multiprocessors, as an H100 has
static std::recursive_mutex lock;                                         // threads of Python may call at once

// Errors ---------------------------------------------------------------------------------------------------------------

static thread_local int last_error; static thread_local std::string last_reason;
int fail(int error, const std::string& why) { last_error = error; last_reason = why; return error; }
static int fail(int error) { return fail(error, error == cudaErrorMemoryAllocation ? "out of memory" : "invalid value"); }

// Memory ---------------------------------------------------------------------------------------------------------------

thread_local int current_device;
static std::map<Address, Piece> pieces;
static std::vector<size_t> used(devices);

const Piece* piece_before(Address a) { auto p = pieces.upper_bound(a); return p == pieces.begin() ? nullptr : &(--p)->second; }
const Piece* piece_at(Address a) { auto p = piece_before(a); return p && a < p->first + p->bytes ? p : nullptr; }

static int allocate(void** p, size_t n, bool on_gpu) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (on_gpu && used[current_device] + n > memory) return fail(cudaErrorMemoryAllocation);
  if (posix_memalign(p, 512, n ? n : 1)) return fail(cudaErrorMemoryAllocation);
  if (on_gpu) used[current_device] += n;
  if (on_gpu && poison && !dry) memset(*p, 0xff, n);
  if (dry && n < 1 << 20) memset(*p, 0, n);  // what is read back and not computed is at least always the same
  pieces[(Address)*p] = {(Address)*p, n, current_device, on_gpu};
  return 0;
}
static int release(void* p) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (!p) return 0;
  auto found = pieces.find((Address)p);
  if (found == pieces.end()) return fail(cudaErrorInvalidValue);
  if (found->second.on_gpu) used[found->second.device] -= found->second.bytes;
  pieces.erase(found); free(p);
  return 0;
}

// Graphs ---------------------------------------------------------------------------------------------------------------

typedef std::vector<Work> Graph;
struct Capture { Graph* graph; int mode; std::thread::id thread; bool valid; };
static std::map<void*, Capture> captured;  // by stream
static std::set<void*> apart;              // streams that don't wait for the default stream, nor it for them

static int invalidate(Capture& c, int error, const char* why) { c.valid = false; return fail(error, why); }
static const char NOT_PERMITTED[] = "operation not permitted when stream is capturing";

// What is done at once, and can't be in a graph: forbidden while a stream captures, unless the mode is relaxed.
static int unsafe() {
  std::lock_guard<std::recursive_mutex> g(lock);
  for (auto& [stream, c] : captured)
    if (c.mode == cudaStreamCaptureModeGlobal || (c.mode == cudaStreamCaptureModeThreadLocal && c.thread == std::this_thread::get_id()))
      return invalidate(c, cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  return 0;
}
// What waits for all streams: no stream may be capturing, in whichever mode.
static int waits_for_all() {
  std::lock_guard<std::recursive_mutex> g(lock);
  for (auto& [stream, c] : captured) return invalidate(c, cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  return 0;
}
// May something be asked of this stream now? The default stream may not while a stream captures that would wait for it.
static int allowed(void* stream) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (!stream)
    for (auto& [other, c] : captured)
      if (!apart.count(other)) return invalidate(c, cudaErrorStreamCaptureImplicit, "operation would make the legacy stream depend on a capturing blocking stream");
  auto found = captured.find(stream);
  if (found != captured.end() && !found->second.valid) return fail(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture");
  return 0;
}

// Work -----------------------------------------------------------------------------------------------------------------

bool dry; static FILE* trace;

void note(const char* format, ...) {
  if (!trace) return;
  va_list list; va_start(list, format); vfprintf(trace, format, list); va_end(list);
}

// Copies from pinned memory that were asked for and are not done.
struct Late { void* stream; long number; std::function<void()> work; };
static std::vector<Late> late; static long asked;

static bool in_order(void* a, void* b) { return a == b || ((!a || !b) && !apart.count(a) && !apart.count(b)); }
// Do those that work on a stream has to wait for, of the first `until`.
static void catch_up(void* stream, long until = 1L << 62) {
  std::lock_guard<std::recursive_mutex> g(lock);
  for (size_t i = 0; i < late.size();)
    if (in_order(late[i].stream, stream) && late[i].number < until) { late[i].work(); late.erase(late.begin() + i); } else i++;
}
static void catch_up_all() { std::lock_guard<std::recursive_mutex> g(lock); for (auto& l : late) l.work(); late.clear(); }

int enqueue(void* stream, Work work) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (int error = allowed(stream)) return error;
  auto found = captured.find(stream);
  if (found != captured.end()) { found->second.graph->push_back(work); return 0; }
  catch_up(stream);
  return work();
}

// `at_once`: it is done when the call returns.
static int copy(void* to, const void* from, size_t n, void* stream, bool at_once) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (!n) return 0;
  const Piece *t = piece_at((Address)to), *f = piece_at((Address)from);
  for (auto p : {std::make_pair(t, (Address)to), std::make_pair(f, (Address)from)})
    if (p.first && p.second + n > p.first->first + p.first->bytes) return fail(cudaErrorInvalidValue, "a copy goes past the end of an array");
  bool to_gpu = t && t->on_gpu, from_gpu = f && f->on_gpu, capturing = captured.count(stream);
  if (int error = at_once ? unsafe() : allowed(stream)) return error;
  // What is in memory that is not pinned at the time of a launch, nobody knows.
  if (capturing && (!t || !f)) return invalidate(captured[stream], cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  note("COPY %c%c bytes=%zu\n", from_gpu ? 'D' : 'H', to_gpu ? 'D' : 'H', n);
  if (dry && to_gpu && (from_gpu || n > 1 << 22)) return 0;  // small ones are done: pointers, sizes, labels
  if (to_gpu && f && !from_gpu && !at_once && !capturing) late.push_back({stream, asked++, [=] { memmove(to, from, n); }});
  else return enqueue(stream, [=] { memmove(to, from, n); return 0; });
  return 0;
}
static int set(void* p, int value, size_t n, void* stream) {
  note("MEMSET - bytes=%zu\n", n);
  if (dry && n >= 1 << 20) return 0;
  return enqueue(stream, [=] {
    if (!piece_at((Address)p)) return fail(cudaErrorIllegalAddress, "a memset of memory that was given back");
    memset(p, value, n);
    return 0;
  });
}

static int attribute(int which) {
  switch (which) {
    case 1: case 2: case 3: return 1024;                                  // threads of a block, and along x and y
    case 4: return 64;                                                    // along z
    case 5: return 2147483647; case 6: case 7: return 65535;              // blocks along x, y, z
    case 8: return 49152; case 81: return 233472; case 97: return 232448; // shared memory: of a block, of a unit, at most
    case 10: return 32;                                                   // threads of a warp
    case 12: case 82: return 65536;                                       // registers
    case 13: return 1700000; case 36: return 2600000;                     // kHz: clock, memory
    case 16: return UNITS;
    case 37: return 5120; case 38: return 52428800; case 39: return 2048; // bus, second cache, threads of a unit
    case 75: return 9; case 76: return 0;                                 // compute capability 9.0
    case 31: case 41: case 115: return 1;                                 // concurrent kernels, unified addresses, pools
  }
  return 0;
}

struct Event { double milliseconds; void* stream; long number; bool captured; };  // of what was asked for on a stream, how much is before it
static void catch_up(Event* e) { catch_up(e->stream, e->number); }
// An event that was recorded while its stream captured is a place in the graph, not in time.
static int in_time(Event* e) {
  if (!e->captured) return 0;
  auto found = captured.find(e->stream);
  if (found != captured.end()) found->second.valid = false;
  return fail(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream");
}
static int waits_for(Event* e, const char* whom) { note("SYNC %s\n", whom); if (int error = in_time(e)) return error; catch_up(e); return 0; }

extern "C" {

// For dry.py
void gpu_dry(int on) { dry = on; }
void gpu_trace(const char* path) { if (trace) fclose(trace); trace = path ? fopen(path, "w") : nullptr; }
int gpu_units() { return UNITS; }
void gpu_finish() { catch_up_all(); }

// The runtime ------------------------------------------------------------------------------------------------------------

const char* cudaGetErrorName(int e) {
  switch (e) {
    case 0: return "cudaSuccess";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidDevice: return "cudaErrorInvalidDevice";
    case cudaErrorIllegalAddress: return "cudaErrorIllegalAddress";
    case cudaErrorStreamCaptureUnsupported: return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated: return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureIsolation: return "cudaErrorStreamCaptureIsolation";
    case cudaErrorStreamCaptureImplicit: return "cudaErrorStreamCaptureImplicit";
    case cudaErrorCapturedEvent: return "cudaErrorCapturedEvent";
  }
  return "cudaErrorOnThisCPU"; }
const char* cudaGetErrorString(int e) { return e ? last_reason.c_str() : "no error"; }
int cudaGetLastError() { int e = last_error; last_error = 0; return e; }
int cudaDriverGetVersion(int* v) { *v = 13020; return 0; }
int cudaRuntimeGetVersion(int* v) { *v = 13020; return 0; }

int cudaGetDevice(int* d) { *d = current_device; return 0; }
int cudaSetDevice(int d) { if (d < 0 || d >= devices) return fail(cudaErrorInvalidDevice, "invalid device ordinal"); current_device = d; return 0; }
int cudaGetDeviceCount(int* n) { *n = devices; return devices ? 0 : fail(100, "no CUDA-capable device is detected"); }
int cudaDeviceGetAttribute(int* v, int which, int) { *v = attribute(which); return 0; }
int cudaDeviceGetPCIBusId(char* s, int n, int d) { snprintf(s, n, "0000:%02x:00.0", d); return 0; }
int cudaGetDeviceProperties(cudaDeviceProp* p, int d) {
  if (d < 0 || d >= devices) return fail(cudaErrorInvalidDevice, "invalid device ordinal");
  memset(p, 0, sizeof *p);
  snprintf(p->name, sizeof p->name, "this CPU as a GPU (%d)", d);
  p->totalGlobalMem = memory; p->multiProcessorCount = UNITS; p->major = 9; p->warpSize = 32;
  p->maxThreadsPerBlock = 1024; p->maxThreadsPerMultiProcessor = 2048;
  p->sharedMemPerBlock = 49152; p->sharedMemPerBlockOptin = 232448; p->regsPerBlock = 65536;
  for (int i = 0; i < 3; i++) { p->maxThreadsDim[i] = attribute(2 + i); p->maxGridSize[i] = attribute(5 + i); }
  return 0;
}
int cudaDeviceSynchronize() { note("SYNC device\n"); if (int error = waits_for_all()) return error; catch_up_all(); return 0; }
int cudaDeviceCanAccessPeer(int* v, int, int) { *v = 0; return 0; }  // as most machines: devices don't see each other's memory

int cudaMemGetInfo(size_t* free, size_t* total) { *total = memory; *free = memory - used[current_device]; return 0; }
int cudaMalloc(void** p, size_t n) { if (int error = unsafe()) return error; return allocate(p, n, true); }
int cudaMallocAsync(void** p, size_t n, void* s) { if (captured.count(s)) return fail(801, "gpu_on_cpu: a graph that allocates is not there"); return allocate(p, n, true); }
int cudaHostAlloc(void** p, size_t n, unsigned) { if (int error = unsafe()) return error; return allocate(p, n, false); }
int cudaFree(void* p) { if (int error = unsafe()) return error; catch_up_all(); return release(p); }
int cudaFreeAsync(void* p, void* s) { if (captured.count(s)) return fail(801, "gpu_on_cpu: a graph that frees is not there"); catch_up_all(); return release(p); }
int cudaFreeHost(void* p) { if (int error = unsafe()) return error; catch_up_all(); return release(p); }
int cudaMemcpy(void* to, const void* from, size_t n, int) { return copy(to, from, n, nullptr, true); }
int cudaMemcpyAsync(void* to, const void* from, size_t n, int, void* stream) { return copy(to, from, n, stream, false); }
int cudaMemcpyPeer(void* to, int, const void* from, int, size_t n) { return copy(to, from, n, nullptr, true); }
int cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t n, void* stream) { return copy(to, from, n, stream, false); }
int cudaMemset(void* p, int value, size_t n) { return set(p, value, n, nullptr); }
int cudaMemsetAsync(void* p, int value, size_t n, void* stream) { return set(p, value, n, stream); }
int cudaPointerGetAttributes(cudaPointerAttributes* a, const void* p) {
  std::lock_guard<std::recursive_mutex> g(lock);
  auto piece = piece_at((Address)p);
  bool gpu = piece && piece->on_gpu;
  *a = {gpu ? 2 : piece ? 1 : 0, piece ? piece->device : -2, gpu ? (void*)p : nullptr, gpu ? nullptr : (void*)p};
  return 0;
}

int cudaStreamCreate(void** s) { *s = malloc(8); return 0; }
int cudaStreamCreateWithFlags(void** s, unsigned flags) { cudaStreamCreate(s); if (flags) apart.insert(*s); return 0; }
int cudaStreamCreateWithPriority(void** s, unsigned flags, int) { return cudaStreamCreateWithFlags(s, flags); }
int cudaStreamDestroy(void*) { return 0; }  // does not wait for its work; the handle is not given out again
int cudaStreamSynchronize(void* s) {
  note("SYNC stream\n");
  auto found = captured.find(s);
  if (found != captured.end()) return invalidate(found->second, cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  if (int error = allowed(s)) return error;
  catch_up(s);
  return 0;
}
int cudaStreamQuery(void* s) {
  auto found = captured.find(s);
  if (found != captured.end()) return invalidate(found->second, cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  catch_up(s);
  return 0;
}
int cudaStreamWaitEvent(void* s, void* e, unsigned) {
  auto event = (Event*)e; auto found = captured.find(s);
  if (event->captured) return found != captured.end() && event->stream == s ? 0 : fail(801, "gpu_on_cpu: a graph of several streams is not there");
  if (found != captured.end()) return invalidate(found->second, cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream");
  catch_up(event);
  return 0;
}
int cudaStreamGetFlags(void*, unsigned* f) { *f = 0; return 0; }
int cudaStreamGetPriority(void*, int* p) { *p = 0; return 0; }
int cudaEventCreate(void** e) { *e = new Event{}; return 0; }
int cudaEventCreateWithFlags(void** e, unsigned) { return cudaEventCreate(e); }
int cudaEventDestroy(void* e) { delete (Event*)e; return 0; }
int cudaEventRecord(void* e, void* s) { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); *(Event*)e = {t.tv_sec * 1e3 + t.tv_nsec * 1e-6, s, asked, captured.count(s) > 0}; return allowed(s); }
int cudaEventQuery(void* e) { if (int error = in_time((Event*)e)) return error; catch_up((Event*)e); return 0; }
int cudaEventSynchronize(void* e) { return waits_for((Event*)e, "event"); }
int cudaEventElapsedTime(float* ms, void* a, void* b) { for (auto e : {a, b}) if (int error = in_time((Event*)e)) return error; *ms = ((Event*)b)->milliseconds - ((Event*)a)->milliseconds; return 0; }

int cudaStreamBeginCapture(void* s, int mode) {
  std::lock_guard<std::recursive_mutex> g(lock);
  if (!s || captured.count(s)) return fail(cudaErrorStreamCaptureUnsupported, NOT_PERMITTED);
  catch_up(s);
  captured[s] = {new Graph, mode, std::this_thread::get_id(), true};
  return 0;
}
int cudaStreamIsCapturing(void* s, int* v) {
  if (!s) if (int error = allowed(s)) return error;
  auto found = captured.find(s);
  *v = found == captured.end() ? 0 : found->second.valid ? 1 : 2;
  return 0;
}
int cudaStreamEndCapture(void* s, void** g) {
  std::lock_guard<std::recursive_mutex> guard(lock);
  auto found = captured.find(s);
  if (found == captured.end()) return fail(cudaErrorInvalidValue, "the stream is not capturing");
  Capture c = found->second;
  captured.erase(found);
  *g = c.valid ? c.graph : nullptr;
  if (!c.valid) { delete c.graph; return fail(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"); }
  return 0;
}
int cudaGraphInstantiate(void** executable, void* g, unsigned long long) { *executable = new Graph(*(Graph*)g); return 0; }
int cudaGraphUpload(void*, void*) { return 0; }
int cudaGraphLaunch(void* executable, void* s) {
  note("GRAPH - launches=%zu\n", ((Graph*)executable)->size());
  for (auto& w : *(Graph*)executable) if (int error = enqueue(s, w)) return error;
  return 0;
}
int cudaGraphDestroy(void* g) { delete (Graph*)g; return 0; }
int cudaGraphExecDestroy(void* g) { delete (Graph*)g; return 0; }

// The driver ---------------------------------------------------------------------------------------------------------------

int cuGetErrorName(int e, const char** s) { *s = cudaGetErrorName(e); return 0; }
int cuGetErrorString(int e, const char** s) { *s = cudaGetErrorString(e); return 0; }
int cuCtxGetCurrent(void** c) { static int context; *c = &context; return 0; }
int cuCtxSetCurrent(void*) { return 0; }
int cuCtxGetDevice(int* d) { *d = current_device; return 0; }
int cuStreamGetCtx(void*, void** c) { return cuCtxGetCurrent(c); }
int cuDevicePrimaryCtxRelease_v2(int) { return 0; }

struct Module { void* library; std::map<std::string, Kernel> kernels; };

int cuModuleLoadData(void** module, const void* image) {
  auto elf = (const Elf64_Ehdr*)image;
  if (memcmp(elf->e_ident, ELFMAG, 4) || elf->e_machine != EM_X86_64) return fail(209, "this kernel was compiled for a real GPU");
  char path[] = "/tmp/gpu_on_cpu_XXXXXX";
  int file = mkstemp(path);
  size_t size = elf->e_shoff + (size_t)elf->e_shentsize * elf->e_shnum;
  bool written = file >= 0 && write(file, image, size) == (ssize_t)size;
  close(file);
  void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  unlink(path);
  if (!library) return fail(200, written ? dlerror() : "can't write to /tmp");
  *module = new Module{library, {}};
  return 0;
}
int cuModuleUnload(void*) { return 0; }
int cuModuleGetFunction(void** f, void* module, const char* name) {
  auto& m = *(Module*)module;
  auto symbol = [&](const char* prefix) { return dlsym(m.library, (std::string(prefix) + name).c_str()); };
  if (!symbol("gpu_thread_")) return fail(500, std::string("there is no kernel ") + name);
  auto& k = m.kernels[name];
  k = {name, (void (*)(void**))symbol("gpu_thread_"), (void (*)(void**, void (*)(const void*, long)))symbol("gpu_arguments_"),
       (const int*)symbol("gpu_sizes_"), *(bool*)symbol("gpu_waits_"), *(bool*)symbol("gpu_watched_")};
  *f = &k;
  return 0;
}
int cuModuleGetGlobal_v2(void** d, size_t* n, void* module, const char* name) { *d = dlsym(((Module*)module)->library, name); *n = 0; return *d ? 0 : fail(500, std::string("no ") + name); }
int cuFuncGetAttribute(int* v, int which, void*) { *v = which == 0 ? 1024 : 0; return 0; }
int cuFuncSetAttribute(void*, int, int) { return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* n, void*, int, size_t) { *n = 1; return 0; }
int cuOccupancyMaxPotentialBlockSize(int* blocks, int* threads, void*, void*, size_t, int) { *blocks = UNITS; *threads = 256; return 0; }

static std::vector<std::pair<const void*, long>> arrays;  // of the kernel being launched

// What is wrong with the arrays that a kernel is given: are they there, on this device? And how many bytes are they?
static int look_at_arrays(const Kernel& k, int device, void** params, long& moved) {
  arrays.clear(); k.arguments(params, [](const void* first, long bytes) { arrays.push_back({first, bytes}); });
  for (size_t i = 0; i < arrays.size(); i++) {
    auto a = (Address)arrays[i].first; long bytes = arrays[i].second;
    if (!a && bytes < 0) continue;  // a null pointer, for an array that is left out
    auto piece = piece_at(a);
    if (!piece) return fail(cudaErrorIllegalAddress, k.name + ": its array " + std::to_string(i) + " is not in the GPU's memory");
    if (piece->on_gpu && piece->device != device)
      return fail(cudaErrorIllegalAddress, k.name + ": its array " + std::to_string(i) + " is on device " + std::to_string(piece->device) + ", it runs on device " + std::to_string(device));
    moved += bytes < 0 ? piece->first + piece->bytes - a : bytes;
  }
  // Structs that are passed by value may hold addresses: words that lie in the GPU's memory are taken for such.
  for (int i = 0; k.sizes[i]; i++)
    for (int at = 0; k.sizes[i] > 8 && at + 8 <= k.sizes[i]; at += 8) {
      auto word = *(const void**)((char*)params[i] + at);
      auto piece = piece_at((Address)word);
      if (!piece || !piece->on_gpu || std::any_of(arrays.begin(), arrays.end(), [=](auto& a) { return a.first == word; })) continue;
      if (piece->device != device) return fail(cudaErrorIllegalAddress, k.name + ": an address that it is given is on device " + std::to_string(piece->device) + ", it runs on device " + std::to_string(device));
      moved += piece->first + piece->bytes - (Address)word;
    }
  return 0;
}

int cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** params, void**) {
  std::lock_guard<std::recursive_mutex> g(lock);
  auto& k = *(Kernel*)f;
  if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024 || bz > 64 || gy > 65535 || gz > 65535 || shared > 232448)
    return fail(cudaErrorInvalidValue, k.name + ": no GPU has such a grid, block or shared memory");
  int device = current_device; long moved = 0;
  if (int error = look_at_arrays(k, device, params, moved)) return error;
  note("KERNEL %s grid=%u block=%u bytes=%ld\n", k.name.c_str(), gx * gy * gz, bx * by * bz, moved);
  if (dry) return allowed(stream);
  std::vector<unsigned> shape = {gx, gy, gz, bx, by, bz};
  auto launched = [=, &k](void** params) {
    std::string wrong = run(k, shape.data(), shared, params);
    return wrong.empty() ? 0 : fail(cudaErrorLaunchFailure, wrong);
  };
  if (!captured.count(stream)) return enqueue(stream, [&] { return launched(params); });
  std::vector<std::vector<char>> kept;  // the arguments are the caller's
  for (int i = 0; k.sizes[i]; i++) kept.emplace_back((char*)params[i], (char*)params[i] + k.sizes[i]);
  return enqueue(stream, [=, &k] {
    std::vector<void*> given; for (auto& a : kept) given.push_back((void*)a.data());
    long moved = 0;
    int error = look_at_arrays(k, device, given.data(), moved);  // its memory may have been given back since
    return error ? error : launched(given.data());
  });
}
int cuLaunchCooperativeKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void* stream, void** params) {
  return cuLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, stream, params, nullptr);
}
}
