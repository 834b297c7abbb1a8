// CUDA's types, as far as CuPy's cupy_backends/cuda/api/runtime.pyx names them, so that it compiles without NVIDIA's headers.
// Enumerations are ints, handles are pointers. What is only passed on, or never used here, stays empty.
#pragma once
#include <stddef.h>

typedef int cudaError_t, cudaDataType, cudaDeviceAttr, cudaLimit, cudaMemoryAdvise, cudaMemcpyKind, cudaMemPoolAttr;
typedef int cudaChannelFormatKind, cudaResourceType, cudaTextureAddressMode, cudaTextureFilterMode, cudaTextureReadMode;
typedef int cudaMemAllocationType, cudaMemAllocationHandleType, cudaMemLocationType;
typedef int cudaStreamCaptureMode, cudaStreamCaptureStatus;
typedef void *cudaStream_t, *cudaEvent_t, *cudaGraph_t, *cudaGraphExec_t, *cudaGraphNode_t;
typedef void *cudaArray_t, *cudaMipmappedArray_t, *cudaMemPool_t;
typedef void *CUcontext, *CUdeviceptr, *CUevent, *CUfunction, *CUmodule, *CUstream, *CUlinkState, *CUarray;
typedef int CUdevice, CUresult, CUjit_option, CUjitInputType, CUfunction_attribute, CUarray_format;
typedef unsigned long long cudaTextureObject_t, cudaSurfaceObject_t;
typedef void (*cudaStreamCallback_t)(cudaStream_t, cudaError_t, void*);
typedef void (*cudaHostFn_t)(void*);

enum {
  cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400, cudaErrorIllegalAddress = 700, cudaErrorPeerAccessAlreadyEnabled = 704,
  cudaErrorContextIsDestroyed = 709, cudaErrorLaunchFailure = 719, cudaErrorNotSupported = 801, cudaErrorUnknown = 999,
  cudaErrorStreamCaptureUnsupported = 900, cudaErrorStreamCaptureInvalidated = 901, cudaErrorStreamCaptureIsolation = 905,
  cudaErrorStreamCaptureImplicit = 906, cudaErrorCapturedEvent = 907,
};
enum { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeThreadLocal = 1, cudaStreamCaptureModeRelaxed = 2 };
enum { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76 };

struct cudaPointerAttributes { int type, device; void *devicePointer, *hostPointer; };
struct cudaMemLocation { cudaMemLocationType type; int id; };
struct cudaMemPoolProps {
  cudaMemAllocationType allocType; cudaMemAllocationHandleType handleTypes; cudaMemLocation location;
};
struct cudaUUID_t { char bytes[16]; };
struct cudaIpcMemHandle_t { unsigned char reserved[64]; };
struct cudaIpcEventHandle_t { unsigned char reserved[64]; };

// Textures
struct cudaExtent { size_t width, height, depth; };
struct cudaPos { size_t x, y, z; };
struct cudaPitchedPtr { size_t pitch; void* ptr; size_t xsize, ysize; };
struct cudaChannelFormatDesc { int x, y, z, w; cudaChannelFormatKind f; };
struct cudaResourceViewDesc {};
struct cudaMemcpy3DParms {
  cudaArray_t srcArray; cudaPos srcPos; cudaPitchedPtr srcPtr;
  cudaArray_t dstArray; cudaPos dstPos; cudaPitchedPtr dstPtr;
  cudaExtent extent; cudaMemcpyKind kind;
};
struct cudaResourceDesc {
  cudaResourceType resType;
  union {
    struct { cudaArray_t array; } array;
    struct { cudaMipmappedArray_t mipmap; } mipmap;
    struct { void* devPtr; cudaChannelFormatDesc desc; size_t sizeInBytes; } linear;
    struct { void* devPtr; cudaChannelFormatDesc desc; size_t width, height, pitchInBytes; } pitch2D;
  } res;
};
struct cudaTextureDesc {
  cudaTextureAddressMode addressMode[3]; cudaTextureFilterMode filterMode; cudaTextureReadMode readMode;
  int sRGB; float borderColor[4]; int normalizedCoords; unsigned maxAnisotropy;
};
