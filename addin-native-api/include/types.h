// Values and strings that cross the border between the 1C:Enterprise platform and a Native API
// component. Written for this project from the published description of the interface; names and
// layout are the interface's, everything else is ours (MIT OR Apache-2.0).

#ifndef ADDIN_NATIVE_API_TYPES_H
#define ADDIN_NATIVE_API_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

// A UTF-16 unit. 16 bits on every system: wchar_t of Linux has 32.
typedef uint16_t WCHAR_T;

// Methods of the interface are stdcall on Windows and ordinary functions elsewhere. The destructor
// never carries this mark.
#if defined(_WIN32)
#define ADDIN_API __stdcall
#else
#define ADDIN_API
#endif

// Type codes of tVariant::vt.
enum VarType : uint16_t {
    VTYPE_EMPTY = 0,
    VTYPE_NULL,
    VTYPE_I2,
    VTYPE_I4,
    VTYPE_R4,
    VTYPE_R8,
    VTYPE_DATE,
    VTYPE_TM,
    VTYPE_PSTR,
    VTYPE_INTERFACE,
    VTYPE_ERROR,
    VTYPE_BOOL,
    VTYPE_VARIANT,
    VTYPE_I1,
    VTYPE_UI1,
    VTYPE_UI2,
    VTYPE_UI4,
    VTYPE_I8,
    VTYPE_UI8,
    VTYPE_INT,
    VTYPE_UINT,
    VTYPE_HRESULT,
    VTYPE_PWSTR,
    VTYPE_BLOB,
    VTYPE_CLSID,

    VTYPE_VECTOR = 0x1000,
    VTYPE_ARRAY = 0x2000,
    VTYPE_BYREF = 0x4000,
};

struct IInterface;

// One value. The longest member of the union is struct tm, whose size the C library decides.
struct tVariant {
    union {
        int8_t i8Val;
        int16_t shortVal;
        int32_t lVal;
        int intVal;
        unsigned int uintVal;
        int64_t llVal;
        uint8_t ui8Val;
        uint16_t ushortVal;
        uint32_t ulVal;
        uint64_t ullVal;
        int32_t errCode;
        float fltVal;
        double dblVal;
        bool bVal;
        double date;
        struct tm tmVal;
        IInterface* pInterfaceVal;
        struct {
            char* pstrVal;
            uint32_t strLen;  // bytes, without the terminator
        };
        struct {
            WCHAR_T* pwstrVal;
            uint32_t wstrLen;  // units, without the terminator
        };
    };
    uint32_t cbElements;
    uint16_t vt;
};

#if defined(__x86_64__) && !defined(_WIN32)
static_assert(sizeof(tVariant) == 64 && offsetof(tVariant, cbElements) == 56 &&
                  offsetof(tVariant, vt) == 60,
              "layout of tVariant");
#elif defined(__i386__) && !defined(_WIN32)
static_assert(sizeof(tVariant) == 52 && offsetof(tVariant, cbElements) == 44 &&
                  offsetof(tVariant, vt) == 48,
              "layout of tVariant");
#elif defined(_WIN32)
static_assert(sizeof(tVariant) == 48 && offsetof(tVariant, cbElements) == 40 &&
                  offsetof(tVariant, vt) == 44,
              "layout of tVariant");
#endif

// What the platform tells of itself.
struct AppInfo {
    enum AppType : int {
        eAppUnknown = -1,
        eAppThinClient = 0,
        eAppThickClient = 1,
        eAppWebClient = 2,
        eAppServer = 3,
        eAppExtConn = 4,
        eAppMobileClient = 5,
        eAppMobileServer = 6,
    };
    const WCHAR_T* AppVersion;
    const WCHAR_T* UserAgentInformation;
    AppType Application;
};

// What interface the two sides agree on.
enum AppCapabilities : int {
    eAppCapabilitiesInvalid = -1,
    eAppCapabilities1 = 1,
    eAppCapabilities2 = 2,
    eAppCapabilities3 = 3,
};

// How a component may be attached.
enum AttachType : int {
    eCanAttachNotIsolated = 1,
    eCanAttachIsolated = 2,
    eCanAttachAny = 3,
};

#endif
