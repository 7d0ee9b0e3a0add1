#include "misuse.h"

#include <cstring>
#include <vector>

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

void misuse(MemoryManager& memory, IComponentBase* target) {
    tVariant variant;
    std::memset(&variant, 0, sizeof variant);
    for (const long index :
         {-1L, target->GetNProps(), target->GetNMethods(), 1000000L, -1000000L}) {
        target->IsPropReadable(index);
        target->IsPropWritable(index);
        target->HasRetVal(index);
        target->GetNParams(index);
        for (const long alias : {-1L, 0L, 1L, 2L, 1000000L}) {
            taken(memory, target->GetPropName(index, alias));
            taken(memory, target->GetMethodName(index, alias));
        }
        target->GetPropVal(index, &variant);
        discard(memory, variant);
        target->SetPropVal(index, &variant);
        target->GetParamDefValue(index, index, &variant);
        discard(memory, variant);
        target->CallAsProc(index, &variant, 1);
        target->CallAsFunc(index, &variant, &variant, 1);
        discard(memory, variant);
    }
    target->FindProp(nullptr);
    target->FindMethod(nullptr);
    target->FindProp(Wide("").c_str());
    target->FindMethod(Wide(std::string(5000, 'x')).c_str());
    target->RegisterExtensionAs(nullptr);
    target->SetLocale(nullptr);
    target->SetUserInterfaceLanguageCode(nullptr);
    for (long i = 0; i < target->GetNProps(); ++i) {
        target->GetPropVal(i, nullptr);
        target->SetPropVal(i, nullptr);
    }
    WCHAR_T lone[3] = {0xd800, 0x0041, 0xdfff};
    for (long i = 0; i < target->GetNMethods(); ++i) {
        const long count = target->GetNParams(i);
        target->CallAsFunc(i, nullptr, nullptr, count);
        target->CallAsFunc(i, &variant, nullptr, 1);
        discard(memory, variant);
        target->CallAsFunc(i, &variant, nullptr, -1);
        discard(memory, variant);
        target->CallAsProc(i, nullptr, 1000000);
        target->GetParamDefValue(i, -1, &variant);
        target->GetParamDefValue(i, 1000000, &variant);
        target->GetParamDefValue(i, 0, nullptr);
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
            target->CallAsFunc(i, &variant, wrong.data(), count);
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
            target->CallAsFunc(i, &variant, wrong.data(), count);
            discard(memory, variant);
        }
    }
    for (const unsigned type : {5u, 6u, 11u, 23u, 0xffffu}) {
        for (long i = 0; i < target->GetNProps(); ++i) {
            std::memset(&variant, 0, sizeof variant);
            variant.vt = static_cast<uint16_t>(type);
            target->SetPropVal(i, &variant);
        }
    }
}
