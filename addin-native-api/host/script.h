// Lines of a script: words and values.

#ifndef LICENCE_HOST_SCRIPT_H
#define LICENCE_HOST_SCRIPT_H

#include <memory>
#include <string>
#include <vector>

#include "platform.h"

struct Failure {
    std::string text;
};

[[noreturn]] void fail(const std::string& text);

// A value of a script; owns the text or the bytes of its variant. A text has no terminator, on
// purpose.
struct Value {
    tVariant variant;
    std::vector<WCHAR_T> text;
    std::string bytes;

    Value();
};

// Splits a line into words; a word may contain a quoted part with escapes. `\uD800` becomes the
// three bytes that UTF-8 would have for half a pair, from which to_wide makes that half.
std::vector<std::string> words_of(const std::string& line);

// Reads a value; the forms are listed in host.cpp.
std::unique_ptr<Value> value_of(const std::string& word);

// A text on one line.
std::string escaped(const std::string& text);

#endif
