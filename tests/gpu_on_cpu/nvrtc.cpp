// libnvrtc.so.13: compiles a kernel's source with g++ for this CPU. What CuPy keeps as its "cubin" is a shared library.
// A kernel whose name does not begin with "cupy" (so: ours) is "watched" where GPU_ON_CPU_WATCH is set, and tells of each
// access to memory (threads.cpp), or "sanitized" where GPU_ON_CPU_ASAN is. GPU_ON_CPU_WATCH=all: every kernel.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>
#include <unistd.h>

struct Program { std::string source, log, binary; std::vector<std::string> names; };

static std::string setting(const char* name) { const char* s = getenv(name); return s ? s : ""; }
static std::string read(const std::string& path) { std::ifstream f(path, std::ios::binary); return {std::istreambuf_iterator<char>(f), {}}; }
static bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// The names of a source's kernels that can be asked for by name, since they are extern "C".
static std::set<std::string> kernels(const std::string& source) {
  static const std::regex kernel("(extern\\s+\"C\"\\s+)?__global__\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
  static const std::regex opened("extern\\s+\"C\"\\s*\\{");
  bool all = std::regex_search(source, opened);
  std::set<std::string> names;
  for (std::sregex_iterator i(source.begin(), source.end(), kernel), end; i != end; ++i)
    if (all || (*i)[1].matched) names.insert((*i)[2]);
  return names;
}

static int compile(Program& q, int n, const char** options) {
  static const std::regex dynamic("extern\\s+__shared__\\s+([\\w\\s:]+?)\\s+(\\w+)\\s*\\[\\s*\\]\\s*;");
  auto found = kernels(q.source);
  bool cupys = found.empty() || !found.begin()->rfind("cupy", 0), waits = has(q.source, "__sync") || has(q.source, "__shfl");
  std::string home = setting("GPU_ON_CPU_HOME"), watch = setting("GPU_ON_CPU_WATCH");
  std::string kind = watch == "all" || (!watch.empty() && !cupys) ? "watched" : !cupys && getenv("GPU_ON_CPU_ASAN") ? "sanitized" : "plain";

  char folder[] = "/tmp/gpu_on_cpu_XXXXXX";
  if (!mkdtemp(folder)) return 6;
  std::string base = std::string(folder) + "/kernel", text = std::regex_replace(q.source, dynamic, "$1* $2 = ($1*)gpu_dynamic_shared;");
  std::ofstream f(base + ".cpp");
  f << text << "\n";
  auto entry = [&](const std::string& symbol, const std::string& function) { f << "GPU_ENTRY(" << symbol << ", &(" << function << "), " << (waits ? "true" : "false") << ")\n"; };
  for (auto& k : found) entry(k, k);
  for (size_t i = 0; i < q.names.size(); i++) entry("named_" + std::to_string(i), q.names[i]);
  f.close();

  // The flags are those of building.py, or the precompiled header would not be taken.
  std::string header = home + "/" + kind + "/device.h", flags = read(home + "/" + kind + "/flags"), end = " 2>>" + base + ".log";
  std::string command = "g++ -c " + flags + " -include " + header;
  for (int i = 0; i < n; i++) if (!strncmp(options[i], "-I", 2) || !strncmp(options[i], "-D", 2)) command += std::string(" '") + options[i] + "'";
  command += " -o " + base + ".o " + base + ".cpp" + end + " && g++ -shared " + (kind == "sanitized" ? "-fsanitize=address " : "");
  command += "-o " + base + ".so " + base + ".o " + home + "/lib/libcuda.so.1" + end;
  int failed = system(command.c_str());
  q.log = read(base + ".log");
  if (!failed) q.binary = read(base + ".so");
  else fprintf(stderr, "gpu_on_cpu: %s\n%s\n", command.c_str(), q.log.substr(0, 3000).c_str());
  for (auto end : {".cpp", ".o", ".so", ".log"}) unlink((base + end).c_str());
  rmdir(folder);
  return failed ? 6 : 0;
}

extern "C" {
const char* nvrtcGetErrorString(int e) { return e ? "NVRTC_ERROR_COMPILATION (by g++)" : "NVRTC_SUCCESS"; }
int nvrtcVersion(int* major, int* minor) { *major = 13; *minor = 2; return 0; }
int nvrtcGetNumSupportedArchs(int* n) { *n = 1; return 0; }
int nvrtcGetSupportedArchs(int* a) { a[0] = 90; return 0; }
int nvrtcCreateProgram(void** p, const char* source, const char*, int, const char**, const char**) { *p = new Program{source}; return 0; }
int nvrtcDestroyProgram(void** p) { delete (Program*)*p; *p = nullptr; return 0; }
int nvrtcAddNameExpression(void* p, const char* name) { ((Program*)p)->names.push_back(name); return 0; }
int nvrtcCompileProgram(void* p, int n, const char** options) {
  auto& q = *(Program*)p;
  if (q.source.empty()) { q.binary = "g++ " __VERSION__; return 0; }  // CuPy's question which compiler this is
  return compile(q, n, options);
}
int nvrtcGetLoweredName(void* p, const char* name, const char** lowered) {
  auto& names = ((Program*)p)->names;
  for (size_t i = 0; i < names.size(); i++) if (names[i] == name) { *lowered = strdup(("named_" + std::to_string(i)).c_str()); return 0; }
  return 1;
}
int nvrtcGetPTXSize(void* p, size_t* n) { *n = ((Program*)p)->binary.size() + 1; return 0; }
int nvrtcGetPTX(void* p, char* to) { auto& b = ((Program*)p)->binary; memcpy(to, b.c_str(), b.size() + 1); return 0; }
int nvrtcGetCUBINSize(void* p, size_t* n) { return nvrtcGetPTXSize(p, n); }
int nvrtcGetCUBIN(void* p, char* to) { return nvrtcGetPTX(p, to); }
int nvrtcGetProgramLogSize(void* p, size_t* n) { *n = ((Program*)p)->log.size() + 1; return 0; }
int nvrtcGetProgramLog(void* p, char* to) { auto& l = ((Program*)p)->log; memcpy(to, l.c_str(), l.size() + 1); return 0; }
int nvrtcGetLTOIRSize(void*, size_t* n) { *n = 0; return 0; }
int nvrtcGetLTOIR(void*, char*) { return 0; }
}
