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

// A value of a script; owns the text of its variant, which has no terminator on purpose.
struct Value {
    tVariant variant;
    std::vector<WCHAR_T> text;

    Value();
};

// Splits a line into words; a word may contain a quoted part with escapes.
std::vector<std::string> words_of(const std::string& line);

// Reads s:text, n:12, d:1.5, b:1 or e:.
std::unique_ptr<Value> value_of(const std::string& word);

// A text on one line.
std::string escaped(const std::string& text);

#endif
