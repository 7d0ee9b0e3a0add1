#include "misuse.h"

#include <cstring>
#include <vector>

#include "script.h"

std::string taken(MemoryManager& manager, const WCHAR_T* text) {
    std::string copy = from_wide(text);
    void* memory = const_cast<WCHAR_T*>(text);
    manager.FreeMemory(&memory);
    return copy;
}

void discard(MemoryManager& memory_manager, tVariant& variant) {
    if (variant.vt == VTYPE_PWSTR || variant.vt == VTYPE_PSTR || variant.vt == VTYPE_BLOB) {
        void* memory = variant.pwstrVal;
        memory_manager.FreeMemory(&memory);
    }
    std::memset(&variant, 0, sizeof variant);
}

namespace {

// Everything that may be done to one object.
void misuse(MemoryManager& memory, Component target) {
    tVariant variant;
    std::memset(&variant, 0, sizeof variant);
    for (const long index :
         {-1L, target.GetNProps(), target.GetNMethods(), 1000000L, -1000000L}) {
        target.IsPropReadable(index);
        target.IsPropWritable(index);
        target.HasRetVal(index);
        target.GetNParams(index);
        for (const long alias : {-1L, 0L, 1L, 2L, 1000000L}) {
            taken(memory, target.GetPropName(index, alias));
            taken(memory, target.GetMethodName(index, alias));
        }
        target.GetPropVal(index, &variant);
        discard(memory, variant);
        target.SetPropVal(index, &variant);
        target.GetParamDefValue(index, index, &variant);
        discard(memory, variant);
        target.CallAsProc(index, &variant, 1);
        target.CallAsFunc(index, &variant, &variant, 1);
        discard(memory, variant);
    }
    target.FindProp(nullptr);
    target.FindMethod(nullptr);
    target.FindProp(Wide("").c_str());
    target.FindMethod(Wide(std::string(5000, 'x')).c_str());
    target.RegisterExtensionAs(nullptr);
    target.SetLocale(nullptr);
    target.SetUserInterfaceLanguageCode(nullptr);
    for (long i = 0; i < target.GetNProps(); ++i) {
        target.GetPropVal(i, nullptr);
        target.SetPropVal(i, nullptr);
    }
    WCHAR_T lone[3] = {0xd800, 0x0041, 0xdfff};
    for (long i = 0; i < target.GetNMethods(); ++i) {
        const long count = target.GetNParams(i);
        target.CallAsFunc(i, nullptr, nullptr, count);
        target.CallAsFunc(i, &variant, nullptr, 1);
        discard(memory, variant);
        target.CallAsFunc(i, &variant, nullptr, -1);
        discard(memory, variant);
        target.CallAsProc(i, nullptr, 1000000);
        target.GetParamDefValue(i, -1, &variant);
        target.GetParamDefValue(i, 1000000, &variant);
        target.GetParamDefValue(i, 0, nullptr);
        // Arguments of every type, known or not, broken texts and blobs.
        for (const unsigned type :
             {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 9u, 10u, 11u, 12u, 13u, 14u, 15u, 16u, 17u, 18u,
              19u, 20u, 21u, 24u, 25u, 99u, 0x1003u, 0x2016u, 0x4003u, 0xffffu}) {
            std::vector<tVariant> wrong(static_cast<size_t>(count) + 1);
            for (tVariant& each : wrong) {
                std::memset(&each, 0, sizeof each);
                each.vt = static_cast<uint16_t>(type);
                each.llVal = -1;
            }
            target.CallAsFunc(i, &variant, wrong.data(), count);
            discard(memory, variant);
        }
        struct Shape {
            unsigned type;
            bool points;
            uint32_t length;
        };
        for (const Shape shape :
             {Shape{VTYPE_PWSTR, false, 17}, Shape{VTYPE_PWSTR, true, 0xffffffffu},
              Shape{VTYPE_PWSTR, true, 3}, Shape{VTYPE_PSTR, true, 3}, Shape{VTYPE_BLOB, false, 17},
              Shape{VTYPE_BLOB, true, 0xffffffffu}, Shape{VTYPE_BLOB, true, 6}}) {
            std::vector<tVariant> wrong(static_cast<size_t>(count) + 1);
            for (tVariant& each : wrong) {
                std::memset(&each, 0, sizeof each);
                each.vt = static_cast<uint16_t>(shape.type);
                each.pwstrVal = shape.points ? lone : nullptr;
                each.wstrLen = shape.length;
            }
            target.CallAsFunc(i, &variant, wrong.data(), count);
            discard(memory, variant);
        }
    }
    for (const unsigned type : {5u, 6u, 11u, 23u, 0xffffu}) {
        for (long i = 0; i < target.GetNProps(); ++i) {
            std::memset(&variant, 0, sizeof variant);
            variant.vt = static_cast<uint16_t>(type);
            target.SetPropVal(i, &variant);
        }
    }
}

// A probe object without Init and without memory, destroyed through the export or otherwise.
void misuse_probe(const Library& library, MemoryManager& memory, bool by_export) {
    const Component probe = library.make("LicenceExtension");
    if (!probe.raw()) {
        fail("no probe object");
    }
    misuse(memory, probe);
    WCHAR_T* registered = nullptr;
    if (probe.RegisterExtensionAs(&registered)) {
        fail("a text without a memory manager");
    }
    if (probe.Init(nullptr) || probe.setMemManager(nullptr)) {
        fail("null was accepted");
    }
    if (by_export) {
        library.destroy(probe);
    } else {
        probe.destroy();
    }
}

}  // namespace

void abuse(const Library& library, MemoryManager& memory, Component target) {
    IComponentBase* probe = nullptr;
    library.get_class_object(nullptr, &probe);
    library.get_class_object(Wide("LicenceExtension").c_str(), nullptr);
    if (library.get_class_object(Wide("NoSuchClass").c_str(), &probe) || probe) {
        fail("an unknown class was made");
    }
    library.destroy_object(nullptr);
    if (library.destroy_object(&probe) == 0) {
        fail("nothing was destroyed");
    }
    for (const int level : {-1, 0, 1, 2, 3, 4, 1000000}) {
        const int answer = library.set_capabilities(static_cast<AppCapabilities>(level));
        if (answer < 1 || answer > 3) {
            fail("impossible capabilities");
        }
    }
    misuse_probe(library, memory, true);
    misuse_probe(library, memory, false);
    // A probe whose four bases are each destroyed through their own table.
    for (int base = 0; base < 4; ++base) {
        library.make("LicenceExtension").destroy(base);
    }
    // An object that is in use, first with a host that has run out of memory.
    memory.exhaust(true);
    misuse(memory, target);
    memory.exhaust(false);
    misuse(memory, target);
}
