#include "sweep.h"

#include <atomic>
#include <climits>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>

#include "invoke.h"
#include "misuse.h"
#include "script.h"

namespace {

// A text of the length that components are asked to survive.
constexpr size_t kLongText = 1u << 20;

struct Tally {
    std::atomic<long> calls{0};
    std::atomic<long> refused{0};
    std::atomic<long> broken{0};
    std::mutex lock;
    std::string first;  // what was broken first, by its member

    void note(const std::string& member, const std::string& what) {
        ++broken;
        const std::lock_guard<std::mutex> guard(lock);
        if (first.empty()) {
            first = member + ": " + what;
        }
    }
};

using Values = std::vector<std::unique_ptr<Value>>;

// The values that no member hopes for. Each owns what its variant points to.
Values extremes() {
    Values all;
    for (const char* word :
         {"e:", "u:", "b:0", "b:1", "n:0", "n:-1", "n:2147483647", "d:1e308", "d:-0.5",
          "v:2:-1", "v:4:-1", "v:5:-1", "v:17:200", "v:10:5", "v:13:1", "v:18:-1", "v:0x4003:1",
          "v:0x2016:1", "v:0xffff:1", "t:2026-11-22T03:04:05", "j:46348.5", "j:-1e300",
          "s:", "s: ", "s:{}", "s:[]", "s:null", "s:\"672B", "s:-1", "s:4294967296", "s:Имя",
          "s:Псевдоним.Имя", "s:.", "s:../../etc/passwd", "s:Имя\n", "s:{\"SessionNumber\":1e400}",
          "a:672B", "a:", "h:", "h:00", "h:6c6963656e63652d646174616669"
          "6c6520310a41", "o:65536"}) {
        all.push_back(value_of(word));
    }
    // Half a pair at the end, and a terminator within.
    all.push_back(value_of("s:" + std::string("A\xed\xa0\x80")));
    all.push_back(value_of(std::string("s:a\0b", 5)));
    for (const double number : {std::numeric_limits<double>::quiet_NaN(),
                                std::numeric_limits<double>::infinity()}) {
        all.push_back(value_of("d:0"));
        all.back()->variant.dblVal = number;
    }
    // A moment beyond every calendar.
    all.push_back(value_of("t:2026-11-22T03:04:05"));
    struct tm& moment = all.back()->variant.tmVal;
    moment.tm_year = moment.tm_mon = moment.tm_mday = moment.tm_hour = INT_MAX;
    return all;
}

// Values whose length is what is extreme: given once to each member, for the sake of valgrind.
Values long_ones() {
    Values all;
    // Brackets that a parser by recursion would fall into.
    all.push_back(value_of("r:100000:["));
    all.push_back(value_of("r:" + std::to_string(kLongText) + ":Ж"));
    all.push_back(value_of("o:" + std::to_string(kLongText)));
    return all;
}

bool has_half_pair(const WCHAR_T* units, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        if (units[i] < 0xd800 || units[i] >= 0xe000) {
            continue;
        }
        if (units[i] >= 0xdc00 || i + 1 == count || units[i + 1] < 0xdc00 || units[i + 1] >= 0xe000) {
            return true;
        }
        ++i;
    }
    return false;
}

// One thread's work.
class Sweeper {
  public:
    Sweeper(MemoryManager& memory, Component target, const Rights& rights, Tally& tally)
        : memory_(memory), target_(target), rights_(rights), tally_(tally) {}

    // `shift` lets each thread begin with another member.
    void run(long shift) {
        const long methods = target_.GetNMethods();
        for (long i = 0; i < methods; ++i) {
            method((i + shift) % methods);
        }
        prepare();
        const long properties = target_.GetNProps();
        for (long i = 0; i < properties; ++i) {
            property((i + shift) % properties);
        }
    }

  private:
    void prepare() {
        for (const auto& [name, words] : rights_.before) {
            Call call(memory_, target_, name, words);
            tVariant result;
            std::memset(&result, 0, sizeof result);
            ++tally_.calls;
            if (!call.as_function(result)) {
                ++tally_.refused;
            }
            judge(name, result);
        }
    }

    // Checks what a call answered, and frees it.
    void judge(const std::string& member, tVariant& result) {
        switch (result.vt) {
            case VTYPE_EMPTY:
            case VTYPE_BOOL:
            case VTYPE_I4:
            case VTYPE_R8: break;
            case VTYPE_PWSTR:
                if (!memory_.owns(result.pwstrVal)) {
                    tally_.note(member, "a text that the host did not allocate");
                    return;
                }
                if (result.pwstrVal[result.wstrLen] != 0) {
                    tally_.note(member, "a text without terminator");
                }
                if (has_half_pair(result.pwstrVal, result.wstrLen)) {
                    tally_.note(member, "half a pair");
                }
                break;
            case VTYPE_BLOB:
                if (!memory_.owns(result.pstrVal)) {
                    tally_.note(member, "a blob that the host did not allocate");
                    return;
                }
                break;
            default: tally_.note(member, "type " + std::to_string(result.vt));
        }
        discard(memory_, result);
    }

    // Calls with these arguments, as a function and as a procedure by turns; a whole list of
    // arguments must never be answered with false, which the platform turns into an exception. A
    // method without a value is a procedure, whose failure is one.
    void call(const std::string& name, long index, std::vector<tVariant>& arguments, bool whole) {
        tVariant result;
        std::memset(&result, 0, sizeof result);
        ++tally_.calls;
        as_procedure_ = !as_procedure_;
        const long count = static_cast<long>(arguments.size());
        const bool done = as_procedure_
                              ? target_.CallAsProc(index, arguments.data(), count)
                              : target_.CallAsFunc(index, &result, arguments.data(), count);
        if (!done && whole && target_.HasRetVal(index)) {
            ++tally_.refused;
        }
        judge(name, result);
    }

    void method(long index) {
        const std::string name = taken(memory_, target_.GetMethodName(index, 1));
        const std::string english = taken(memory_, target_.GetMethodName(index, 0));
        if (name.empty() || target_.FindMethod(Wide(english).c_str()) != index ||
            target_.FindMethod(Wide(name).c_str()) != index) {
            tally_.note(name, "is not found by its names");
            return;
        }
        prepare();
        const size_t count = static_cast<size_t>(target_.GetNParams(index));
        Values right;
        std::vector<void*> defaults;
        std::vector<tVariant> base;
        const auto known = rights_.values.find(name);
        for (size_t i = 0; i < count; ++i) {
            if (known != rights_.values.end() && i < known->second.size()) {
                right.push_back(value_of(known->second[i]));
                base.push_back(right.back()->variant);
                continue;
            }
            tVariant standard;
            std::memset(&standard, 0, sizeof standard);
            target_.GetParamDefValue(index, static_cast<long>(i), &standard);
            if (standard.vt == VTYPE_PWSTR) {
                defaults.push_back(standard.pwstrVal);
            }
            base.push_back(standard);
        }
        call(name, index, base, true);
        call(name, index, base, true);
        for (size_t missing = 1; missing <= count; ++missing) {
            std::vector<tVariant> fewer(base.begin(), base.end() - static_cast<long>(missing));
            call(name, index, fewer, false);
        }
        for (const auto& extreme : extremes_) {
            for (size_t i = 0; i < count; ++i) {
                std::vector<tVariant> arguments = base;
                arguments[i] = extreme->variant;
                call(name, index, arguments, true);
            }
            if (count > 1) {
                std::vector<tVariant> arguments(count, extreme->variant);
                call(name, index, arguments, true);
            }
        }
        for (const auto& long_one : long_ones_) {
            std::vector<tVariant> arguments(count, long_one->variant);
            call(name, index, arguments, true);
        }
        for (void* memory : defaults) {
            memory_.FreeMemory(&memory);
        }
    }

    void property(long index) {
        const std::string name = taken(memory_, target_.GetPropName(index, 1));
        const std::string english = taken(memory_, target_.GetPropName(index, 0));
        if (name.empty() || target_.FindProp(Wide(english).c_str()) != index ||
            target_.FindProp(Wide(name).c_str()) != index) {
            tally_.note(name, "is not found by its names");
            return;
        }
        for (const auto& extreme : extremes_) {
            attempt(name, index, extreme->variant);
        }
        for (const auto& long_one : long_ones_) {
            attempt(name, index, long_one->variant);
        }
    }

    // Writes a property and reads it.
    void attempt(const std::string& name, long index, tVariant value) {
        tally_.calls += 2;
        if (target_.SetPropVal(index, &value) && !target_.IsPropWritable(index)) {
            tally_.note(name, "was written");
        }
        tVariant result;
        std::memset(&result, 0, sizeof result);
        if (target_.GetPropVal(index, &result) != target_.IsPropReadable(index)) {
            tally_.note(name, "is readable and is not");
        }
        judge(name, result);
    }

    MemoryManager& memory_;
    Component target_;
    const Rights& rights_;
    Tally& tally_;
    Values extremes_ = extremes();
    Values long_ones_ = long_ones();
    bool as_procedure_ = true;
};

}  // namespace

std::string sweep(MemoryManager& memory, Component target, const Rights& rights,
                  int threads) {
    Tally tally;
    std::vector<std::thread> others;
    const auto work = [&](long shift) {
        try {
            Sweeper(memory, target, rights, tally).run(shift);
        } catch (const Failure& failure) {
            tally.note("script", failure.text);
        }
    };
    for (int i = 1; i < threads; ++i) {
        others.emplace_back(work, i * 7);
    }
    work(0);
    for (std::thread& other : others) {
        other.join();
    }
    return "ok calls=" + std::to_string(tally.calls) + " refused=" + std::to_string(tally.refused) +
           " broken=" + std::to_string(tally.broken) + " " + escaped(tally.first);
}
