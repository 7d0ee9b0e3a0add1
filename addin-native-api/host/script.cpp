#include "script.h"

#include <cstdlib>
#include <cstring>

void fail(const std::string& text) { throw Failure{text}; }

Value::Value() { std::memset(&variant, 0, sizeof variant); }

std::vector<std::string> words_of(const std::string& line) {
    std::vector<std::string> words;
    std::string word;
    bool inside = false, any = false;
    for (size_t i = 0; i < line.size(); ++i) {
        const char c = line[i];
        if (inside && c == '\\' && i + 1 < line.size()) {
            const char next = line[++i];
            word += next == 'n' ? '\n' : next == 't' ? '\t' : next;
        } else if (c == '"') {
            inside = !inside;
            any = true;
        } else if (!inside && (c == ' ' || c == '\t' || c == '\r')) {
            if (any) {
                words.push_back(word);
            }
            word.clear();
            any = false;
        } else {
            word += c;
            any = true;
        }
    }
    if (inside) {
        fail("a quote is not closed");
    }
    if (any) {
        words.push_back(word);
    }
    return words;
}

std::unique_ptr<Value> value_of(const std::string& word) {
    auto value = std::make_unique<Value>();
    if (word.size() < 2 || word[1] != ':') {
        fail("a value begins with s: n: d: b: or e:, not " + word);
    }
    const std::string rest = word.substr(2);
    tVariant& variant = value->variant;
    switch (word[0]) {
        case 's':
            value->text = to_wide(rest);
            variant.vt = VTYPE_PWSTR;
            variant.pwstrVal = value->text.empty() ? nullptr : value->text.data();
            variant.wstrLen = static_cast<uint32_t>(value->text.size());
            break;
        case 'n':
            variant.vt = VTYPE_I4;
            variant.lVal = std::atoi(rest.c_str());
            break;
        case 'd':
            variant.vt = VTYPE_R8;
            variant.dblVal = std::atof(rest.c_str());
            break;
        case 'b':
            variant.vt = VTYPE_BOOL;
            variant.bVal = rest == "1";
            break;
        case 'e':
            variant.vt = VTYPE_EMPTY;
            break;
        default:
            fail("unknown type of a value: " + word);
    }
    return value;
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '\n': out += "\\n"; break;
            case '\r': out += "\\r"; break;
            case '\\': out += "\\\\"; break;
            default: out += c;
        }
    }
    return out;
}
