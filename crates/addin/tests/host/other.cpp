// A component of another version, as small as the platform allows: what an installed one may be.
// Compiled by tests/host/unified.rs with these names defined:
//   OTHER_VERSION  what its property answers     OTHER_CLASSES  what GetClassNames answers
//   OTHER_ANSWER   what it answers to the hand-over
//   OTHER_LACKS    leaves one export out
// It writes what happens to it into the file that OTHER_NOTES names.

#include <cstdio>
#include <cstring>

#include "ComponentBase.h"

namespace {

void note(const char* text, size_t length) {
    if (FILE* file = std::fopen(OTHER_NOTES, "a")) {
        std::fwrite(text, 1, length, file);
        std::fputc('\n', file);
        std::fclose(file);
    }
}

void note(const char* text) { note(text, std::strlen(text)); }

class Other final : public IComponentBase {
  public:
    bool ADDIN_API Init(void* connection) override { return connection != nullptr; }
    bool ADDIN_API setMemManager(void* memory) override {
        memory_ = static_cast<IMemoryManager*>(memory);
        return memory_ != nullptr;
    }
    long ADDIN_API GetInfo() override { return 2000; }
    void ADDIN_API Done() override {}

    bool ADDIN_API RegisterExtensionAs(WCHAR_T** name) override {
        *name = copy("LicenceExtension");
        return *name != nullptr;
    }
    long ADDIN_API GetNProps() override { return 1; }
    // The only property has any name.
    long ADDIN_API FindProp(const WCHAR_T*) override { return 0; }
    const WCHAR_T* ADDIN_API GetPropName(long, long) override { return copy("Version"); }
    bool ADDIN_API GetPropVal(long, tVariant* value) override {
        value->vt = VTYPE_PWSTR;
        value->pwstrVal = copy(OTHER_VERSION);
        value->wstrLen = static_cast<uint32_t>(std::strlen(OTHER_VERSION));
        return value->pwstrVal != nullptr;
    }
    bool ADDIN_API SetPropVal(long, tVariant*) override { return false; }
    bool ADDIN_API IsPropReadable(long) override { return true; }
    bool ADDIN_API IsPropWritable(long) override { return false; }
    long ADDIN_API GetNMethods() override { return 0; }
    long ADDIN_API FindMethod(const WCHAR_T*) override { return -1; }
    const WCHAR_T* ADDIN_API GetMethodName(long, long) override { return nullptr; }
    long ADDIN_API GetNParams(long) override { return 0; }
    bool ADDIN_API GetParamDefValue(long, long, tVariant*) override { return false; }
    bool ADDIN_API HasRetVal(long) override { return false; }
    bool ADDIN_API CallAsProc(long, tVariant*, long) override { return false; }
    bool ADDIN_API CallAsFunc(long, tVariant*, tVariant*, long) override { return false; }
    void ADDIN_API SetLocale(const WCHAR_T*) override {}
    void ADDIN_API SetUserInterfaceLanguageCode(const WCHAR_T*) override {}

  private:
    IMemoryManager* memory_ = nullptr;

    WCHAR_T* copy(const char* text) const {
        const size_t length = std::strlen(text) + 1;
        void* place = nullptr;
        if (!memory_ || !memory_->AllocMemory(&place, length * sizeof(WCHAR_T))) {
            return nullptr;
        }
        auto* units = static_cast<WCHAR_T*>(place);
        for (size_t i = 0; i < length; ++i) {
            units[i] = static_cast<unsigned char>(text[i]);
        }
        return units;
    }
};

struct Farewell {
    ~Farewell() { note("farewell"); }
} farewell;

}  // namespace

extern "C" {

const WCHAR_T* GetClassNames() {
    static WCHAR_T names[sizeof OTHER_CLASSES];
    for (size_t i = 0; i < sizeof OTHER_CLASSES; ++i) {
        names[i] = static_cast<unsigned char>(OTHER_CLASSES[i]);
    }
    return names;
}

long GetClassObject(const WCHAR_T*, IComponentBase** object) {
    note("made");
    *object = new Other;
    return 1;
}

long DestroyObject(IComponentBase** object) {
    note("destroyed");
    delete *object;
    *object = nullptr;
    return 0;
}

AppCapabilities SetPlatformCapabilities(const AppCapabilities) { return eAppCapabilities3; }

#ifndef OTHER_LACKS
AttachType GetAttachType() { return static_cast<AttachType>(3); }
#endif

int LicenceAddinTakeOver(const char* message, size_t length) {
    note(message, length);
    return OTHER_ANSWER;
}
}
