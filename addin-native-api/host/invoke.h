// One call of a member with the values of a script, and showing what a call left.

#ifndef LICENCE_HOST_INVOKE_H
#define LICENCE_HOST_INVOKE_H

#include <memory>
#include <string>
#include <vector>

#include "component.h"
#include "platform.h"
#include "script.h"

// A method of an object with all its arguments: those given, then the defaults that the object
// names. May be called any number of times.
class Call {
  public:
    Call(MemoryManager& memory, Component target, const std::string& method,
         const std::vector<std::string>& given);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

    bool as_function(tVariant& result);
    bool as_procedure();

  private:
    MemoryManager& memory_;
    Component target_;
    long index_;
    std::vector<std::unique_ptr<Value>> values_;
    std::vector<tVariant> variants_;
    std::vector<void*> defaults_;
};

// What is in a variant, in one line; frees it. The bytes of a blob go to the file `save_to` when it
// is named.
std::string shown(MemoryManager& memory, tVariant& variant, const std::string& save_to = "");

#endif
