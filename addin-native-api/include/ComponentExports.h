// The functions that the library of a component exports: plain C, without decoration on every system.
// Written for this project from the published description of the interface (MIT OR Apache-2.0).

#ifndef ADDIN_NATIVE_API_COMPONENT_EXPORTS_H
#define ADDIN_NATIVE_API_COMPONENT_EXPORTS_H

#include "types.h"

struct IComponentBase;

extern "C" {
typedef long (*GetClassObjectPtr)(const WCHAR_T* name, IComponentBase** object);
typedef long (*DestroyObjectPtr)(IComponentBase** object);
typedef const WCHAR_T* (*GetClassNamesPtr)();
typedef AppCapabilities (*SetPlatformCapabilitiesPtr)(const AppCapabilities capabilities);
typedef AttachType (*GetAttachTypePtr)();
}

#endif
