#include "script.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "system.h"

namespace {

// Largest text or blob that a script may ask for: beyond what the component takes of any kind.
constexpr size_t kBytesMax = 256u << 20;

// The bytes of half a surrogate pair, or of any other unit, as to_wide reads them.
std::string unit_bytes(unsigned unit) {
    std::string bytes;
    if (unit < 0x80) {
        bytes += static_cast<char>(unit);
    } else if (unit < 0x800) {
        bytes += static_cast<char>(0xc0 | unit >> 6);
        bytes += static_cast<char>(0x80 | (unit & 0x3f));
    } else {
        bytes += static_cast<char>(0xe0 | unit >> 12);
        bytes += static_cast<char>(0x80 | (unit >> 6 & 0x3f));
        bytes += static_cast<char>(0x80 | (unit & 0x3f));
    }
    return bytes;
}

std::string bytes_of_hex(const std::string& hex) {
    if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos) {
        fail("not hex: " + hex);
    }
    std::string bytes;
    for (size_t at = 0; at < hex.size(); at += 2) {
        bytes += static_cast<char>(std::strtoul(hex.substr(at, 2).c_str(), nullptr, 16));
    }
    return bytes;
}

std::string bytes_of_file(const std::string& path) {
    std::ifstream file(file_path(path), std::ios::binary);
    if (!file) {
        fail("cannot read " + path);
    }
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

size_t count_of(const std::string& text) {
    const size_t count = std::strtoull(text.c_str(), nullptr, 10);
    if (count > kBytesMax) {
        fail("too large: " + text);
    }
    return count;
}

void become_text(Value& value, const std::string& text) {
    value.text = to_wide(text);
    value.variant.vt = VTYPE_PWSTR;
    value.variant.pwstrVal = value.text.empty() ? nullptr : value.text.data();
    value.variant.wstrLen = static_cast<uint32_t>(value.text.size());
}

void become_bytes(Value& value, std::string bytes, unsigned type) {
    value.bytes = std::move(bytes);
    value.variant.vt = static_cast<uint16_t>(type);
    value.variant.pstrVal = value.bytes.empty() ? nullptr : value.bytes.data();
    value.variant.strLen = static_cast<uint32_t>(value.bytes.size());
}

void become_moment(Value& value, const std::string& text) {
    struct tm moment;
    std::memset(&moment, 0, sizeof moment);
    int read = 0;
    const int fields =
        std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &moment.tm_year, &moment.tm_mon,
                    &moment.tm_mday, &moment.tm_hour, &moment.tm_min, &moment.tm_sec, &read);
    if (fields != 6 || static_cast<size_t>(read) != text.size()) {
        fail("not a moment such as 2026-01-31T12:00:00: " + text);
    }
    moment.tm_year -= 1900;
    moment.tm_mon -= 1;
    value.variant.vt = VTYPE_TM;
    value.variant.tmVal = moment;
}

}  // namespace

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
            if (next == 'u' && i + 4 < line.size()) {
                word += unit_bytes(
                    static_cast<unsigned>(std::strtoul(line.substr(i + 1, 4).c_str(), nullptr, 16)));
                i += 4;
                continue;
            }
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
        fail("a value begins with a letter and a colon, not " + word);
    }
    const std::string rest = word.substr(2);
    tVariant& variant = value->variant;
    switch (word[0]) {
        case 's':
            become_text(*value, rest);
            break;
        case 'r': {
            const size_t colon = rest.find(':');
            if (colon == rest.npos) {
                fail("r:COUNT:TEXT, not " + word);
            }
            const std::string part = rest.substr(colon + 1);
            const size_t count = count_of(rest.substr(0, colon));
            if (!part.empty() && count > kBytesMax / part.size()) {
                fail("too large: " + word);
            }
            std::string text;
            text.reserve(count * part.size());
            for (size_t i = 0; i < count; ++i) {
                text += part;
            }
            become_text(*value, text);
            break;
        }
        case 'a':
            become_bytes(*value, rest, VTYPE_PSTR);
            break;
        case 'h':
            become_bytes(*value, bytes_of_hex(rest), VTYPE_BLOB);
            break;
        case 'f':
            become_bytes(*value, bytes_of_file(rest), VTYPE_BLOB);
            break;
        case 'o':
            become_bytes(*value, std::string(count_of(rest), '\0'), VTYPE_BLOB);
            break;
        case 't':
            become_moment(*value, rest);
            break;
        case 'j':
            variant.vt = VTYPE_DATE;
            variant.date = std::atof(rest.c_str());
            break;
        case 'u':
            variant.vt = VTYPE_NULL;
            break;
        case 'v': {
            // A type by its number, its value the same bits whatever it is.
            const size_t colon = rest.find(':');
            variant.vt = static_cast<uint16_t>(std::strtoul(rest.c_str(), nullptr, 0));
            variant.llVal = colon == rest.npos ? 0 : std::atoll(rest.c_str() + colon + 1);
            break;
        }
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
