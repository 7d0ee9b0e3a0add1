// licencehost: plays the 1C:Enterprise platform for a Native API component.
//
// A stand-in for the platform, not the platform: it makes the calls that the platform makes, in
// the orders known of it and of OneScript, through real C++ virtual calls into the real library. Those
// calls follow the rules by which the platform of the system is compiled (seam.h); the script is the
// same everywhere.
//
//     licencehost LIBRARY < script
//
// One command a line, one result line each, flushed, so that another program can drive it:
//
//     load | unload [force]            → ok threads=N mapped=0|1; force: objects stay behind
//     new A CLASS [order=platform|oscript] [lang=ru_RU]
//     app N | app none | app silent    → what Init tells from here on: an application (3: server),
//                                        no such interface, an interface without an answer
//     set A PROPERTY VALUE | get A PROPERTY
//     call A METHOD VALUE…  | proc A METHOD VALUE…
//     destroy A | delete A             → DestroyObject | the virtual destructor
//     threads | mapped | errors | members A
//     layout                           → destructor slots of a virtual table, by this host's rules
//     abuse A                          → null pointers, wild indexes, probe objects
//     right METHOD VALUE… | before METHOD VALUE… | wrongs
//                                      → for `sweep`: right arguments of a method; a call to make
//                                        before each member; forget both
//     sweep A [THREADS]                → every member with every argument, in threads at once
//     loop N PLACE [DESCRIPTOR]        → N times load, new, set, call Start, destroy, unload
//     crowd THREADS N PLACE [DESCRIPTOR] → the same in threads at once, N times each
//     save FILE A METHOD VALUE…        → a call whose blob goes to a file
//     begin A METHOD VALUE… | end      → a call on a thread of its own | its answer
//     clocked COMMAND…                 → "ms N", then what the command answers
//     time A PROPERTY N                → nanoseconds for one read
//     timecall N A METHOD VALUE…       → nanoseconds for one call; it must answer something
//     quit | exit                      → with or without unloading at the end
//
// Values: s:"text" (escapes \" \\ \n \t \uD800), r:COUNT:TEXT (the text so many times), n:12,
// d:1.5, b:1, e: (empty), u: (NULL), t:2026-01-31T12:00:00 (date as struct tm), j:46000.5 (date as
// a number), f:FILE, h:00FF and o:COUNT (blob from a file, from hex, of zeros), a:text (one byte a
// letter), v:TYPE:NUMBER (any type by its number).

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <thread>

#include "crowd.h"
#include "invoke.h"
#include "library.h"
#include "misuse.h"
#include "platform.h"
#include "script.h"
#include "sweep.h"
#include "system.h"

namespace {

// Threads of this process. The kernel tells a joiner that a thread is over a moment before it takes
// it off the list, so more than the host's own one are counted again for up to 50 ms.
int thread_count() {
    int least = listed_threads();
    for (int round = 0; least > 1 && round < 50; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        least = std::min(least, listed_threads());
    }
    return least;
}

class Host {
  public:
    explicit Host(const std::string& path) : path_(full_name(path)) {}

    std::string run(const std::vector<std::string>& words) {
        const std::string& command = words[0];
        auto word = [&](size_t index) -> const std::string& {
            if (index >= words.size()) {
                fail("too few words for " + command);
            }
            return words[index];
        };
        if (command == "load") return load();
        if (command == "unload") return unload(words.size() > 1 && words[1] == "force");
        if (command == "new") return create(words);
        if (command == "app") return app(word(1));
        if (command == "set") return set(word(1), word(2), word(3));
        if (command == "get") return get(word(1), word(2));
        if (command == "call" || command == "proc") {
            return call(word(1), word(2), {words.begin() + 3, words.end()}, command == "call");
        }
        if (command == "save") {
            return call(word(2), word(3), {words.begin() + 4, words.end()}, true, word(1));
        }
        if (command == "begin") return begin(word(1), word(2), {words.begin() + 3, words.end()});
        if (command == "end") return end();
        if (command == "clocked") return clocked({words.begin() + 1, words.end()});
        if (command == "right") {
            rights_.values[word(1)] = {words.begin() + 2, words.end()};
            return "ok";
        }
        if (command == "before") {
            rights_.before.emplace_back(word(1),
                                        std::vector<std::string>(words.begin() + 2, words.end()));
            return "ok";
        }
        if (command == "wrongs") {
            rights_ = {};
            return "ok";
        }
        if (command == "sweep") {
            return sweep(memory_, object(word(1)), rights_,
                         words.size() > 2 ? std::atoi(words[2].c_str()) : 1);
        }
        if (command == "crowd") return crowd(words);
        if (command == "timecall") {
            return time_call(std::atol(word(1).c_str()), word(2), word(3),
                             {words.begin() + 4, words.end()});
        }
        if (command == "destroy") return destroy(word(1), true);
        if (command == "delete") return destroy(word(1), false);
        if (command == "threads") return "threads " + std::to_string(thread_count());
        if (command == "mapped") return "mapped " + std::to_string(mapped());
        if (command == "errors") return errors();
        if (command == "layout") return "destructors " + std::to_string(seam_destructor_slots());
        if (command == "members") return members(word(1));
        if (command == "abuse") return abuse(word(1));
        if (command == "loop") return loop(std::atoi(word(1).c_str()), words);
        if (command == "time") return time(word(1), word(2), std::atol(word(3).c_str()));
        fail("unknown command " + command);
    }

    // What is left of the component's allocations; a script is over.
    std::string farewell() {
        if (background_.joinable()) {
            background_.join();
        }
        while (!objects_.empty()) {
            destroy(objects_.begin()->first, true);
        }
        if (library_) {
            unload();
        }
        return "bye outstanding=" + std::to_string(memory_.outstanding()) +
               " foreign=" + std::to_string(memory_.foreign());
    }

    bool clean() const { return memory_.outstanding() == 0 && memory_.foreign() == 0; }

  private:
    bool mapped() const { return is_mapped(path_); }

    // Threads before the mapping: on Windows a thread that ends lets the library go itself.
    std::string status() const {
        const int threads = thread_count();
        return "ok threads=" + std::to_string(threads) + " mapped=" + std::to_string(mapped());
    }

    std::string load() {
        if (library_) {
            fail("already loaded");
        }
        library_ = std::make_unique<Library>(path_);
        return status();
    }

    // With `force` the objects are left behind, as a host does that is torn down in a hurry.
    std::string unload(bool force = false) {
        if (!library_) {
            fail("not loaded");
        }
        if (force) {
            objects_.clear();
        } else if (!objects_.empty()) {
            fail("objects are alive");
        }
        library_.reset();
        return status();
    }

    const Library& library() const {
        if (!library_) {
            fail("not loaded");
        }
        return *library_;
    }

    Component object(const std::string& name) const {
        const auto found = objects_.find(name);
        if (found == objects_.end()) {
            fail("no object " + name);
        }
        return found->second;
    }

    std::string app(const std::string& what) {
        connection_.strip(what == "none");
        connection_.silence(what == "silent");
        if (what != "none" && what != "silent") {
            connection_.play(std::atoi(what.c_str()));
        }
        return "ok";
    }

    std::string create(const std::vector<std::string>& words) {
        const Library& library = this->library();
        if (words.size() < 3) {
            fail("new NAME CLASS [order=…] [lang=…]");
        }
        if (objects_.count(words[1])) {
            fail("object " + words[1] + " exists");
        }
        bool oscript = false;
        std::string language = "ru_RU";
        for (size_t i = 3; i < words.size(); ++i) {
            if (words[i] == "order=oscript") {
                oscript = true;
            } else if (words[i].rfind("lang=", 0) == 0) {
                language = words[i].substr(5);
            } else if (words[i] != "order=platform") {
                fail("unknown option " + words[i]);
            }
        }
        if (!oscript) {
            library.set_capabilities(eAppCapabilities3);
            library.get_attach_type();
        }
        const Component object = library.make(words[2]);
        if (!object.raw()) {
            fail("no class " + words[2]);
        }
        objects_.emplace(words[1], object);
        if (oscript) {
            // OneScript: memory first, and nothing of the language.
            if (!object.setMemManager(memory_.object()) || !object.Init(connection_.object())) {
                fail("the object refuses to work");
            }
            return "ok";
        }
        if (!object.Init(connection_.object()) || !object.setMemManager(memory_.object())) {
            fail("the object refuses to work");
        }
        if (object.GetInfo() < 2000) {
            fail("old technology");
        }
        WCHAR_T* registered = nullptr;
        if (!object.RegisterExtensionAs(&registered)) {
            fail("no extension name");
        }
        const std::string name = taken(memory_, registered);
        object.SetLocale(Wide(language).c_str());
        object.SetUserInterfaceLanguageCode(Wide(language.substr(0, 2)).c_str());
        return "ok " + name;
    }

    long property(Component object, const std::string& name) const {
        const long index = object.FindProp(Wide(name).c_str());
        if (index < 0) {
            fail("no property " + name);
        }
        return index;
    }

    std::string set(const std::string& name, const std::string& property_name,
                    const std::string& word) {
        const Component target = object(name);
        const long index = property(target, property_name);
        auto value = value_of(word);
        if (!target.IsPropWritable(index)) {
            fail("read only");
        }
        return target.SetPropVal(index, &value->variant) ? "ok" : "refused";
    }

    std::string get(const std::string& name, const std::string& property_name) {
        const Component target = object(name);
        const long index = property(target, property_name);
        if (!target.IsPropReadable(index)) {
            fail("write only");
        }
        Value value;
        if (!target.GetPropVal(index, &value.variant)) {
            return "refused";
        }
        return shown(memory_, value.variant);
    }

    std::string call(const std::string& name, const std::string& method_name,
                     const std::vector<std::string>& given, bool function,
                     const std::string& save_to = "") {
        Call call(memory_, object(name), method_name, given);
        if (!function) {
            return call.as_procedure() ? "ok" : "refused";
        }
        Value result;
        if (!call.as_function(result.variant)) {
            return "refused";
        }
        return shown(memory_, result.variant, save_to);
    }

    // The object must live until `end`.
    std::string begin(const std::string& name, const std::string& method_name,
                      const std::vector<std::string>& given) {
        if (background_.joinable()) {
            fail("a call is under way");
        }
        auto call = std::make_shared<Call>(memory_, object(name), method_name, given);
        background_ = std::thread([this, call] {
            try {
                Value result;
                answered_ = call->as_function(result.variant) ? shown(memory_, result.variant)
                                                              : "refused";
            } catch (const Failure& failure) {
                answered_ = "error " + escaped(failure.text);
            }
        });
        return "ok";
    }

    std::string end() {
        if (!background_.joinable()) {
            fail("no call is under way");
        }
        background_.join();
        return answered_;
    }

    std::string clocked(const std::vector<std::string>& words) {
        if (words.empty()) {
            fail("too few words for clocked");
        }
        const auto start = std::chrono::steady_clock::now();
        const std::string answer = run(words);
        const auto spent = std::chrono::steady_clock::now() - start;
        return "ms " +
               std::to_string(
                   std::chrono::duration_cast<std::chrono::milliseconds>(spent).count()) +
               " " + answer;
    }

    std::string crowd(const std::vector<std::string>& words) {
        if (library_) {
            fail("unload first");
        }
        if (words.size() < 4) {
            fail("crowd THREADS N PLACE [DESCRIPTOR]");
        }
        std::vector<std::pair<std::string, std::string>> properties{{"ПараметрыСвязи", words[3]}};
        if (words.size() > 4) {
            properties.emplace_back("ОписаниеСерии", words[4]);
        }
        const long started = ::crowd(path_, memory_, std::atoi(words[1].c_str()),
                                     std::atoi(words[2].c_str()), properties);
        return status() + " outstanding=" + std::to_string(memory_.outstanding()) +
               " started=" + std::to_string(started);
    }

    std::string destroy(const std::string& name, bool by_export) {
        const Component target = object(name);
        objects_.erase(name);
        if (by_export) {
            target.Done();
            library().destroy(target);
        } else {
            target.destroy();
        }
        return "ok";
    }

    std::string errors() {
        std::string line = "errors";
        for (const std::string& error : connection_.take_errors()) {
            line += " [" + escaped(error) + "]";
        }
        return line;
    }

    std::string members(const std::string& name) {
        const Component target = object(name);
        std::string line = "members";
        for (long i = 0; i < target.GetNProps(); ++i) {
            line += " " + taken(memory_, target.GetPropName(i, 0)) + "/" + taken(memory_, target.GetPropName(i, 1));
        }
        for (long i = 0; i < target.GetNMethods(); ++i) {
            line += " " + taken(memory_, target.GetMethodName(i, 0)) + "/" +
                    taken(memory_, target.GetMethodName(i, 1)) + "(" +
                    std::to_string(target.GetNParams(i)) + ")";
        }
        return line;
    }

    std::string abuse(const std::string& name) {
        ::abuse(library(), memory_, object(name));
        return "ok";
    }

    std::string loop(int count, const std::vector<std::string>& words) {
        if (library_) {
            fail("unload first");
        }
        if (words.size() < 3) {
            fail("loop N PLACE [DESCRIPTOR]");
        }
        const int before = thread_count();
        std::string last;
        for (int i = 0; i < count; ++i) {
            load();
            create({"new", "loop", "LicenceExtension",
                    i % 2 ? "order=oscript" : "order=platform"});
            set("loop", "ПараметрыСвязи", "s:" + words[2]);
            if (words.size() > 3) {
                set("loop", "ОписаниеСерии", "s:" + words[3]);
            }
            call("loop", "Запуск", {"s:672B"}, true);
            last = get("loop", "КлассОшибки");
            destroy("loop", i % 3 != 0);
            unload();
            if (mapped() || thread_count() != before) {
                fail("round " + std::to_string(i + 1) + " left threads=" +
                     std::to_string(thread_count()) + " mapped=" + std::to_string(mapped()));
            }
        }
        return status() + " outstanding=" + std::to_string(memory_.outstanding()) + " " + last;
    }

    std::string time(const std::string& name, const std::string& property_name, long count) {
        const Component target = object(name);
        const long index = property(target, property_name);
        const auto start = std::chrono::steady_clock::now();
        for (long i = 0; i < count; ++i) {
            tVariant variant;
            variant.vt = VTYPE_EMPTY;
            if (!target.GetPropVal(index, &variant)) {
                fail("refused");
            }
            discard(memory_, variant);
        }
        return nanos(std::chrono::steady_clock::now() - start, count);
    }

    std::string time_call(long count, const std::string& name, const std::string& method_name,
                          const std::vector<std::string>& given) {
        Call call(memory_, object(name), method_name, given);
        const auto start = std::chrono::steady_clock::now();
        for (long i = 0; i < count; ++i) {
            tVariant result;
            result.vt = VTYPE_EMPTY;
            if (!call.as_function(result) || result.vt == VTYPE_EMPTY) {
                fail("answered nothing");
            }
            discard(memory_, result);
        }
        return nanos(std::chrono::steady_clock::now() - start, count);
    }

    static std::string nanos(std::chrono::steady_clock::duration spent, long count) {
        const double each =
            static_cast<double>(
                std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count()) /
            static_cast<double>(count > 0 ? count : 1);
        char line[64];
        std::snprintf(line, sizeof line, "ns %.1f", each);
        return line;
    }

    std::string path_;
    MemoryManager memory_;
    Connection connection_;
    std::unique_ptr<Library> library_;
    std::map<std::string, Component> objects_;
    Rights rights_;
    std::thread background_;
    std::string answered_;
};

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words = arguments(argc, argv);
    if (words.size() != 2) {
        std::cerr << "usage: licencehost LIBRARY < script\n";
        return 2;
    }
    Host host(words[1]);
    int code = 0;
    for (std::string line; std::getline(std::cin, line);) {
        try {
            const auto words = words_of(line);
            if (words.empty() || words[0][0] == '#') {
                continue;
            }
            if (words[0] == "quit") {
                break;
            }
            if (words[0] == "exit") {
                // As a platform that is closed: nothing is destroyed and nothing unloaded.
                std::exit(code);
            }
            std::cout << host.run(words) << std::endl;
        } catch (const Failure& failure) {
            // The script goes on; its driver sees the line, a shell sees the exit code.
            std::cout << "error " << escaped(failure.text) << std::endl;
            code = 1;
        }
    }
    try {
        std::cout << host.farewell() << std::endl;
    } catch (const Failure& failure) {
        std::cout << "error " << escaped(failure.text) << std::endl;
        return 1;
    }
    return host.clean() ? code : 3;
}
