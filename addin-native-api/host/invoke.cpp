#include "invoke.h"

#include <cstdio>
#include <fstream>

#include "misuse.h"
#include "system.h"

Call::Call(MemoryManager& memory, Component target, const std::string& method,
           const std::vector<std::string>& given)
    : memory_(memory), target_(target), index_(target.FindMethod(Wide(method).c_str())) {
    if (index_ < 0) {
        fail("no method " + method);
    }
    const long count = target.GetNParams(index_);
    if (static_cast<long>(given.size()) > count) {
        fail("too many arguments");
    }
    for (const std::string& word : given) {
        values_.push_back(value_of(word));
        variants_.push_back(values_.back()->variant);
    }
    for (long i = static_cast<long>(variants_.size()); i < count; ++i) {
        Value standard;
        if (!target.GetParamDefValue(index_, i, &standard.variant) ||
            standard.variant.vt == VTYPE_EMPTY) {
            fail("too few arguments");
        }
        if (standard.variant.vt == VTYPE_PWSTR) {
            defaults_.push_back(standard.variant.pwstrVal);
        }
        variants_.push_back(standard.variant);
    }
}

Call::~Call() {
    for (void* memory : defaults_) {
        memory_.FreeMemory(&memory);
    }
}

bool Call::as_function(tVariant& result) {
    return target_.CallAsFunc(index_, &result, variants_.data(),
                               static_cast<long>(variants_.size()));
}

bool Call::as_procedure() {
    return target_.CallAsProc(index_, variants_.data(), static_cast<long>(variants_.size()));
}

std::string shown(MemoryManager& memory, tVariant& variant, const std::string& save_to) {
    char number[64];
    switch (variant.vt) {
        case VTYPE_EMPTY: return "empty";
        case VTYPE_BOOL: return variant.bVal ? "bool 1" : "bool 0";
        case VTYPE_I4: return "number " + std::to_string(variant.lVal);
        case VTYPE_R8:
            std::snprintf(number, sizeof number, "number %.17g", variant.dblVal);
            return number;
        case VTYPE_PWSTR: {
            if (!memory.owns(variant.pwstrVal)) {
                fail("a text that the host did not allocate");
            }
            const std::string text = from_wide(variant.pwstrVal, variant.wstrLen);
            const bool terminated = variant.pwstrVal[variant.wstrLen] == 0;
            discard(memory, variant);
            if (!terminated) {
                fail("a text without terminator");
            }
            return "string " + escaped(text);
        }
        case VTYPE_BLOB: {
            if (!memory.owns(variant.pstrVal)) {
                fail("a blob that the host did not allocate");
            }
            const std::string bytes(variant.pstrVal, variant.strLen);
            discard(memory, variant);
            if (!save_to.empty()) {
                std::ofstream file(file_path(save_to), std::ios::binary | std::ios::trunc);
                file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
                file.close();
                if (!file) {
                    fail("cannot write " + save_to);
                }
            }
            return "blob " + std::to_string(bytes.size());
        }
        default: fail("unexpected type " + std::to_string(variant.vt));
    }
}
