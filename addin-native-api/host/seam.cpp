#include "seam.h"

#include "ComponentBase.h"

#if defined(_MSC_VER)
// What Microsoft's C++ library would bring. Nothing below comes to either.
void operator delete(void* memory) noexcept { host_delete(memory); }
void operator delete(void* memory, size_t) noexcept { host_delete(memory); }
extern "C" int _purecall() { __builtin_trap(); }
#endif

namespace {

// Memory by functions of the class, because there may be no C++ library.
class Placed {
  public:
    static void* operator new(size_t bytes) { return host_new(bytes); }
    static void operator delete(void* memory) { host_delete(memory); }
};

class Memory final : public IMemoryManager, public Placed {
  public:
    explicit Memory(void* host) : host_(host) {}
    bool ADDIN_API AllocMemory(void** memory, unsigned long bytes) override {
        return host_alloc_memory(host_, memory, bytes);
    }
    void ADDIN_API FreeMemory(void** memory) override { host_free_memory(host_, memory); }

  private:
    void* host_;
};

class Platform final : public IPlatformInfo {
  public:
    explicit Platform(void* host) : host_(host) {}
    const AppInfo* ADDIN_API GetPlatformInfo() override { return host_platform_info(host_); }

  private:
    void* host_;
};

// Everything but errors and the platform does nothing, as on a server of the platform.
class Connection final : public IAddInDefBaseEx, public Placed {
  public:
    explicit Connection(void* host) : host_(host), platform_(host) {}
    bool ADDIN_API AddError(unsigned short wcode, const WCHAR_T* source, const WCHAR_T* descr,
                            long /*scode*/) override {
        return host_add_error(host_, wcode, source, descr);
    }
    bool ADDIN_API Read(WCHAR_T*, tVariant*, long*, WCHAR_T**) override { return false; }
    bool ADDIN_API Write(WCHAR_T*, tVariant*) override { return false; }
    bool ADDIN_API RegisterProfileAs(WCHAR_T*) override { return false; }
    bool ADDIN_API SetEventBufferDepth(long) override { return false; }
    long ADDIN_API GetEventBufferDepth() override { return 0; }
    bool ADDIN_API ExternalEvent(WCHAR_T*, WCHAR_T*, WCHAR_T*) override { return false; }
    void ADDIN_API CleanEventBuffer() override {}
    bool ADDIN_API SetStatusLine(WCHAR_T*) override { return false; }
    void ADDIN_API ResetStatusLine() override {}
    IInterface* ADDIN_API GetInterface(Interfaces number) override {
        return number == eIPlatformInfo && host_has_interface(host_, number) ? &platform_ : nullptr;
    }

  private:
    void* host_;
    Platform platform_;
};

// A method without arguments, as every table has it, that tells its own place in the table.
template <long PLACE>
long ADDIN_API place(void* /*object*/) {
    return PLACE;
}

using Slot = long(ADDIN_API*)(void*);

// A table of such methods, long enough for either layout.
const Slot kPlaces[] = {place<0>, place<1>, place<2>, place<3>, place<4>, place<5>, place<6>};

}  // namespace

long seam_destructor_slots() {
    // GetInfo has two methods before it, and before these are the destructors.
    const Slot* table = kPlaces;
    // The compiler must not find out what is called and that no such class exists.
    IInitDoneBase* volatile object = reinterpret_cast<IInitDoneBase*>(&table);
    return object->GetInfo() - 2;
}

bool seam_Init(IComponentBase* object, void* connection) { return object->Init(connection); }
bool seam_setMemManager(IComponentBase* object, void* manager) {
    return object->setMemManager(manager);
}
long seam_GetInfo(IComponentBase* object) { return object->GetInfo(); }
void seam_Done(IComponentBase* object) { object->Done(); }
bool seam_RegisterExtensionAs(IComponentBase* object, WCHAR_T** name) {
    return object->RegisterExtensionAs(name);
}
long seam_GetNProps(IComponentBase* object) { return object->GetNProps(); }
long seam_FindProp(IComponentBase* object, const WCHAR_T* name) { return object->FindProp(name); }
const WCHAR_T* seam_GetPropName(IComponentBase* object, long prop, long alias) {
    return object->GetPropName(prop, alias);
}
bool seam_GetPropVal(IComponentBase* object, long prop, tVariant* value) {
    return object->GetPropVal(prop, value);
}
bool seam_SetPropVal(IComponentBase* object, long prop, tVariant* value) {
    return object->SetPropVal(prop, value);
}
bool seam_IsPropReadable(IComponentBase* object, long prop) { return object->IsPropReadable(prop); }
bool seam_IsPropWritable(IComponentBase* object, long prop) { return object->IsPropWritable(prop); }
long seam_GetNMethods(IComponentBase* object) { return object->GetNMethods(); }
long seam_FindMethod(IComponentBase* object, const WCHAR_T* name) {
    return object->FindMethod(name);
}
const WCHAR_T* seam_GetMethodName(IComponentBase* object, long method, long alias) {
    return object->GetMethodName(method, alias);
}
long seam_GetNParams(IComponentBase* object, long method) { return object->GetNParams(method); }
bool seam_GetParamDefValue(IComponentBase* object, long method, long param, tVariant* value) {
    return object->GetParamDefValue(method, param, value);
}
bool seam_HasRetVal(IComponentBase* object, long method) { return object->HasRetVal(method); }
bool seam_CallAsProc(IComponentBase* object, long method, tVariant* params, long count) {
    return object->CallAsProc(method, params, count);
}
bool seam_CallAsFunc(IComponentBase* object, long method, tVariant* result, tVariant* params,
                     long count) {
    return object->CallAsFunc(method, result, params, count);
}
void seam_SetLocale(IComponentBase* object, const WCHAR_T* locale) { object->SetLocale(locale); }
void seam_SetUserInterfaceLanguageCode(IComponentBase* object, const WCHAR_T* language) {
    object->SetUserInterfaceLanguageCode(language);
}

void seam_delete(IComponentBase* object, int base) {
    switch (base) {
        case 0: delete static_cast<IInitDoneBase*>(object); break;
        case 1: delete static_cast<ILanguageExtenderBase*>(object); break;
        case 2: delete static_cast<LocaleBase*>(object); break;
        case 3: delete static_cast<UserLanguageBase*>(object); break;
        default: delete object;
    }
}

void* seam_new_memory_manager(void* host) {
    return static_cast<IMemoryManager*>(new Memory(host));
}
void seam_delete_memory_manager(void* manager) {
    delete static_cast<Memory*>(static_cast<IMemoryManager*>(manager));
}
void* seam_new_connection(void* host) {
    return static_cast<IAddInDefBase*>(new Connection(host));
}
void seam_delete_connection(void* connection) {
    delete static_cast<Connection*>(static_cast<IAddInDefBase*>(connection));
}
