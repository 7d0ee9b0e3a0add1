#include "crowd.h"

#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "invoke.h"
#include "library.h"
#include "misuse.h"
#include "script.h"

namespace {

const char* const kClasses[] = {"LicenceExtension", "LicenceExtension20"};

std::string answer(MemoryManager& memory, Component object, const char* method,
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
    Library library(path);
    library.set_capabilities(eAppCapabilities3);
    library.get_attach_type();
    const Connection connection;
    const Component object = library.make(kClasses[number % 2]);
    if (!object.raw()) {
        fail(std::string("no class ") + kClasses[number % 2]);
    }
    if (!object.Init(connection.object()) || !object.setMemManager(memory.object())) {
        fail("the object refuses to work");
    }
    for (const auto& [name, text] : properties) {
        const auto value = value_of("s:" + text);
        object.SetPropVal(object.FindProp(Wide(name).c_str()), &value->variant);
    }
    const bool started = answer(memory, object, "Запуск", {"s:672B"}) == "bool 1";
    answer(memory, object, "ПолучитьСчетчики", {});
    object.Done();
    library.destroy(object);
    if (!library.close()) {
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
