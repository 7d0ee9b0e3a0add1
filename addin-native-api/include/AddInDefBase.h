// What the platform offers to a component. Written for this project from the published description
// of the interface (MIT OR Apache-2.0).

#ifndef ADDIN_NATIVE_API_ADD_IN_DEF_BASE_H
#define ADDIN_NATIVE_API_ADD_IN_DEF_BASE_H

#include "types.h"

// Importance of a message of AddError.
enum AddInError : unsigned short {
    ADDIN_E_NONE = 1000,
    ADDIN_E_ORDINARY = 1001,
    ADDIN_E_ATTENTION = 1002,
    ADDIN_E_IMPORTANT = 1003,
    ADDIN_E_VERY_IMPORTANT = 1004,
    ADDIN_E_INFO = 1005,
    ADDIN_E_FAIL = 1006,
};

// The connection object, given to Init.
struct IAddInDefBase {
    virtual ~IAddInDefBase() {}
    virtual bool ADDIN_API AddError(unsigned short wcode, const WCHAR_T* source,
                                    const WCHAR_T* descr, long scode) = 0;
    virtual bool ADDIN_API Read(WCHAR_T* name, tVariant* value, long* error, WCHAR_T** descr) = 0;
    virtual bool ADDIN_API Write(WCHAR_T* name, tVariant* value) = 0;
    virtual bool ADDIN_API RegisterProfileAs(WCHAR_T* name) = 0;
    virtual bool ADDIN_API SetEventBufferDepth(long depth) = 0;
    virtual long ADDIN_API GetEventBufferDepth() = 0;
    virtual bool ADDIN_API ExternalEvent(WCHAR_T* source, WCHAR_T* message, WCHAR_T* data) = 0;
    virtual void ADDIN_API CleanEventBuffer() = 0;
    virtual bool ADDIN_API SetStatusLine(WCHAR_T* text) = 0;
    virtual void ADDIN_API ResetStatusLine() = 0;
};

// Root of the further interfaces; a component asks for them by number.
struct IInterface {};

enum Interfaces : int { eIMsgBox = 0, eIPlatformInfo = 1, eIAttachedInfo = 2 };

// The interface eIPlatformInfo. Like all further interfaces it has no destructor.
struct IPlatformInfo : public IInterface {
    virtual const AppInfo* ADDIN_API GetPlatformInfo() = 0;
};

struct IAddInDefBaseEx : public IAddInDefBase {
    virtual ~IAddInDefBaseEx() {}
    virtual IInterface* ADDIN_API GetInterface(Interfaces number) = 0;
};

// Memory of the platform: whatever a component hands out is allocated here.
struct IMemoryManager {
    virtual ~IMemoryManager() {}
    virtual bool ADDIN_API AllocMemory(void** memory, unsigned long bytes) = 0;
    virtual void ADDIN_API FreeMemory(void** memory) = 0;
};

#endif
