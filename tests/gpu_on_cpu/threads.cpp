// Runs a kernel: one block after the other, and in a block one thread after the other. Where threads wait for each other
// each has a stack of its own, and runs to its next barrier before the next one does. A watched kernel (nvrtc.cpp)
// tells of each access to memory; so we see accesses outside of every array, and two accesses to one cell that no
// barrier orders.
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>
#include "include/gpu.h"
#include "internal.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
char gpu_dynamic_shared[232448];

// Fibers ---------------------------------------------------------------------------------------------------------------

struct Fiber { void* stack_pointer; char* stack; enum { READY, AT_BLOCK = GPU_BLOCK, AT_WARP = GPU_WARP, DONE } state; };
static const size_t STACK = 1 << 16, SLOT = 32;
static std::vector<Fiber> fibers;
static std::vector<char> slots;  // what each thread gives to the others of its warp
static void* scheduler;          // the stack pointer of run_together
static bool inside;              // a thread of a kernel runs, not we
static int current, count;       // thread of the block, and how many there are
static const Kernel* kernel;
static void** arguments;

extern "C" void gpu_switch(void** save, void* load);
asm(R"(
.text
.globl gpu_switch
.type gpu_switch,@function
gpu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
)");

static void leave(decltype(Fiber::state) state) {
  fibers[current].state = state;
  inside = false;
  gpu_switch(&fibers[current].stack_pointer, scheduler);
}
static void begin() { kernel->thread(arguments); leave(Fiber::DONE); }

static void choose(int thread) {
  current = thread;
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / (blockDim.x * blockDim.y)};
}

static const bool last_first = getenv("GPU_ON_CPU_ORDER") && !strcmp(getenv("GPU_ON_CPU_ORDER"), "last");
static int in_order(int i, int n) { return last_first ? n - 1 - i : i; }

// Watching -------------------------------------------------------------------------------------------------------------

struct Access { int block, thread, warp, barriers, warp_barriers; bool atomic; };
enum { NOBODY = -1, SEVERAL = -2 };
struct Cell { Access write = {NOBODY}, read = {NOBODY}; };
static std::unordered_map<Address, Cell> cells;  // bytes that this launch has touched
static int block, barriers, warp_barriers[32];   // this block's number, how many barriers it and its warps have passed
static size_t shared_bytes;
static Range code, ours;
static std::string offence;

// Whether thread `now` can rely on access `a` to be over (or is the same thread).
static bool ordered(const Access& a, const Access& now) {
  if (a.block == NOBODY) return true;
  if (a.block != now.block) return false;
  if (a.barriers < now.barriers || a.thread == now.thread) return true;
  return a.warp == now.warp && a.warp_barriers < now.warp_barriers;
}

static std::string place(unsigned i, const dim3& of) {
  return "(" + std::to_string(i % of.x) + ", " + std::to_string(i / of.x % of.y) + ", " + std::to_string(i / (of.x * of.y)) + ")";
}
static std::string thread_name(const Access& a) {
  return (a.thread >= 0 ? "thread " + place(a.thread, blockDim) : std::string("several threads")) +
         (a.block >= 0 ? " of block " + place(a.block, gridDim) : std::string(" of several blocks"));
}
static void report(const Access& now, int how, const std::string& what) {
  offence = kernel->name + ": " + thread_name(now) + (how == GPU_READ ? " reads " : " writes ") + what;
  leave(Fiber::DONE);  // and never come back: the whole launch ends
}

static void check(Cell& cell, bool shared, const Access& now, int how) {
  if (shared) for (Access* a : {&cell.write, &cell.read}) if (a->block != now.block) a->block = NOBODY;  // its own memory
  const char* where = shared ? "shared memory" : "a cell of an array";
  auto against = [&](const Access& a, const char* did) {
    if (ordered(a, now) || (a.atomic && now.atomic)) return;
    report(now, how, std::string(where) + " that " + thread_name(a) + did +
           (a.block == now.block ? ", and no __syncthreads() is between" : " in the same launch"));
  };
  against(cell.write, " wrote");
  if (how == GPU_READ) {
    Access& a = cell.read;
    if (ordered(a, now)) a = now;
    else if (a.block != now.block) a.block = SEVERAL;
    else if (a.warp != now.warp) a.warp = a.thread = SEVERAL;
    else a.thread = SEVERAL;
  } else {
    against(cell.read, " read");
    cell.write = now;
  }
}

void gpu_touch(const void* address, size_t bytes, int how) {
  if (!inside) return;  // gpu_arguments_…
  Address a = (Address)address, stack = (Address)fibers[current].stack, dynamic = (Address)gpu_dynamic_shared;
  if (a >= stack && a < stack + STACK) return;  // a thread's own variables
  Access now = {block, current, current / 32, barriers, warp_barriers[current / 32], how == GPU_ATOMIC};
  bool shared = a >= code.first && a < code.end;
  if (!shared && a >= dynamic && a < dynamic + sizeof gpu_dynamic_shared) {
    shared = true;
    if (a + bytes > dynamic + shared_bytes)
      report(now, how, "past the " + std::to_string(shared_bytes) + " bytes of shared memory of this launch");
  }
  if (!shared && a >= ours.first && a < ours.end) return;  // threadIdx and its like
  const Piece* piece = shared ? nullptr : piece_at(a);
  if (!shared && (!piece || a + bytes > piece->first + piece->bytes)) {
    piece = piece_before(a);
    report(now, how, !piece ? std::string("memory that is not the GPU's") :
           std::to_string(a + bytes - piece->first - piece->bytes) + " bytes past the end of an array of " + std::to_string(piece->bytes));
  }
  if (piece && piece->on_gpu && piece->device != current_device)
    report(now, how, "memory of device " + std::to_string(piece->device) + " while it runs on device " + std::to_string(current_device));
  for (size_t i = 0; i < bytes; i++) check(cells[a + i], shared, now, how);
}

Range range_of(const void* symbol) {
  Dl_info info; link_map* map;
  dladdr1(symbol, &info, (void**)&map, RTLD_DL_LINKMAP);
  struct Found { Address base; Range range; } found = {map->l_addr, {~(Address)0, 0}};
  dl_iterate_phdr([](dl_phdr_info* p, size_t, void* to) {
    auto& f = *(Found*)to;
    if (p->dlpi_addr != f.base) return 0;
    for (int i = 0; i < p->dlpi_phnum; i++) if (p->dlpi_phdr[i].p_type == PT_LOAD) {
      Address first = f.base + p->dlpi_phdr[i].p_vaddr, end = first + p->dlpi_phdr[i].p_memsz;
      f.range = {std::min(f.range.first, first), std::max(f.range.end, end)};
    }
    return 1; }, &found);
  return found.range;
}

// Running --------------------------------------------------------------------------------------------------------------

int gpu_lane() { return current % 32; }
void gpu_wait(int whom) { leave((decltype(Fiber::state))whom); }
void gpu_swap(const void* mine, void* theirs, size_t bytes, int lane) {
  int other = current - gpu_lane() + lane;
  memcpy(&slots[SLOT * current], mine, bytes);
  gpu_wait(GPU_WARP);
  memcpy(theirs, &slots[SLOT * (other < count ? other : current)], bytes);
  gpu_wait(GPU_WARP);
}

// A block whose threads wait for each other.
static void run_together() {
  for (size_t i = fibers.size(); i < (size_t)count; i++) {
    void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fibers.push_back({nullptr, (char*)stack, Fiber::DONE});
  }
  slots.resize(SLOT * fibers.size());
  for (int i = 0; i < count; i++) {
    void** top = (void**)(fibers[i].stack + STACK - 64);
    *--top = nullptr; *--top = (void*)begin;
    for (int registers = 0; registers < 6; registers++) *--top = nullptr;
    fibers[i].stack_pointer = top; fibers[i].state = Fiber::READY;
  }
  barriers = 0; memset(warp_barriers, 0, sizeof warp_barriers);
  for (;;) {
    bool ran = false;
    for (int i = 0; i < count; i++) {
      choose(in_order(i, count));
      if (fibers[current].state != Fiber::READY) continue;
      ran = inside = true;
      gpu_switch(&scheduler, fibers[current].stack_pointer);
      if (!offence.empty()) return;
    }
    if (ran) continue;
    auto release = [](decltype(Fiber::state) state) {  // all who wait for this
      bool any = false; int warp = -1;
      for (int i = 0; i < count; i++) if (fibers[i].state == state) {
        fibers[i].state = Fiber::READY; any = true;
        if (state == Fiber::AT_WARP && warp != i / 32) warp_barriers[warp = i / 32]++;
      }
      return any; };
    if (release(Fiber::AT_WARP)) continue;
    if (!release(Fiber::AT_BLOCK)) return;
    barriers++;
  }
}

std::string run(const Kernel& k, const unsigned shape[6], size_t shared, void** args) {
  kernel = &k; arguments = args; shared_bytes = shared;
  gridDim = dim3(shape[0], shape[1], shape[2]); blockDim = dim3(shape[3], shape[4], shape[5]);
  count = shape[3] * shape[4] * shape[5];
  if (k.watched) { cells.clear(); code = range_of((void*)k.thread); ours = range_of((void*)run); }
  offence.clear();
  int blocks = shape[0] * shape[1] * shape[2];
  for (int i = 0; i < blocks; i++) {
    block = in_order(i, blocks);
    blockIdx = {block % shape[0], block / shape[0] % shape[1], block / (shape[0] * shape[1])};
    if (k.waits || k.watched) { run_together(); if (!offence.empty()) break; }
    else for (int t = 0; t < count; t++) { choose(in_order(t, count)); k.thread(args); }
  }
  return offence;
}
