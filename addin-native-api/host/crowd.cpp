#include "crowd.h"

#include <dlfcn.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "invoke.h"
#include "misuse.h"
#include "script.h"

namespace {

const char* const kClasses[] = {"LicenceExtension", "LicenceExtension20"};

template <class F>
F symbol(void* library, const char* name) {
    void* address = dlsym(library, name);
    if (!address) {
        fail(std::string("no export ") + name);
    }
    return reinterpret_cast<F>(address);
}

std::string answer(MemoryManager& memory, IComponentBase* object, const char* method,
                   const std::vector<std::string>& words) {
    Call call(memory, object, method, words);
    tVariant result;
    std::memset(&result, 0, sizeof result);
    if (!call.as_function(result)) {
        fail(std::string(method) + " threw");
    }
    return shown(memory, result);
}

bool round(const std::string& path, MemoryManager& memory, int number,
           const std::vector<std::pair<std::string, std::string>>& properties) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fail(dlerror());
    }
    const auto make = symbol<GetClassObjectPtr>(library, "GetClassObject");
    const auto destroy = symbol<DestroyObjectPtr>(library, "DestroyObject");
    symbol<SetPlatformCapabilitiesPtr>(library, "SetPlatformCapabilities")(eAppCapabilities3);
    symbol<GetAttachTypePtr>(library, "GetAttachType")();
    Connection connection;
    IComponentBase* object = nullptr;
    if (!make(Wide(kClasses[number % 2]).c_str(), &object) || !object) {
        fail(std::string("no class ") + kClasses[number % 2]);
    }
    if (!object->Init(&connection) || !object->setMemManager(&memory)) {
        fail("the object refuses to work");
    }
    for (const auto& [name, text] : properties) {
        const auto value = value_of("s:" + text);
        object->SetPropVal(object->FindProp(Wide(name).c_str()), &value->variant);
    }
    const bool started = answer(memory, object, "Запуск", {"s:672B"}) == "bool 1";
    answer(memory, object, "ПолучитьСчетчики", {});
    object->Done();
    if (destroy(&object) != 0 || object) {
        fail("not destroyed");
    }
    if (dlclose(library) != 0) {
        fail("not unloaded");
    }
    return started;
}

}  // namespace

long crowd(const std::string& path, MemoryManager& memory, int threads, int rounds,
           const std::vector<std::pair<std::string, std::string>>& properties) {
    std::atomic<long> started{0};
    std::mutex lock;
    std::string failure;
    std::vector<std::thread> all;
    for (int thread = 0; thread < threads; ++thread) {
        all.emplace_back([&, thread] {
            try {
                for (int i = 0; i < rounds; ++i) {
                    started += round(path, memory, thread + i, properties);
                }
            } catch (const Failure& why) {
                const std::lock_guard<std::mutex> guard(lock);
                failure = why.text;
            }
        });
    }
    for (std::thread& thread : all) {
        thread.join();
    }
    if (!failure.empty()) {
        fail(failure);
    }
    return started;
}
