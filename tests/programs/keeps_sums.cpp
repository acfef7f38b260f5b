// Transfers between accounts that are spread over many pages: what one page loses another one gains, so a
// page that is older or newer than the others shows in the total. Takes the go file; see
// changes_all_the_time.h.
#include <memory>
#include <mutex>

#include "changes_all_the_time.h"

namespace {

constexpr std::size_t kAccounts = 32768;
constexpr std::size_t kStripes = 64;
constexpr unsigned kThreads = 4;
constexpr std::int64_t kFirstBalance = 1'000'000;

struct alignas(512) Account {
  std::int64_t balance;
  std::uint64_t transfers;
  std::uint64_t check;
};

class Bank {
 public:
  Bank() : accounts_(kAccounts) {
    for (std::size_t i = 0; i < kAccounts; ++i) {
      accounts_[i].balance = kFirstBalance;
      seal(i);
    }
  }

  void transfer(TargetRandom& random) {
    const std::size_t from = random.below(kAccounts);
    const std::size_t to = random.below(kAccounts);
    const auto amount = static_cast<std::int64_t>(random.below(1000));
    std::unique_lock first(stripes_[std::min(from % kStripes, to % kStripes)]);
    std::unique_lock<std::mutex> second;
    if (from % kStripes != to % kStripes)
      second = std::unique_lock(stripes_[std::max(from % kStripes, to % kStripes)]);
    verify(from);
    verify(to);
    change(from, -amount);
    change(to, amount);
  }

  void check() {
    std::array<std::unique_lock<std::mutex>, kStripes> all;
    for (std::size_t i = 0; i < kStripes; ++i) all[i] = std::unique_lock(stripes_[i]);
    std::int64_t total = 0;
    for (std::size_t i = 0; i < kAccounts; ++i) {
      verify(i);
      total += accounts_[i].balance;
    }
    constexpr auto kTotal = static_cast<std::int64_t>(kAccounts) * kFirstBalance;
    if (total != kTotal)
      target_violated("the total is %lld instead of %lld", static_cast<long long>(total),
                      static_cast<long long>(kTotal));
  }

 private:
  static std::uint64_t checksum(const Account& account, std::size_t number) {
    return target_mix(static_cast<std::uint64_t>(account.balance), account.transfers * kAccounts + number);
  }
  void seal(std::size_t number) { accounts_[number].check = checksum(accounts_[number], number); }

  void verify(std::size_t number) const {
    const Account& account = accounts_[number];
    if (account.check == checksum(account, number)) return;
    target_violated("account %zu at %p with %lld after %llu transfers does not fit its checksum", number,
                    static_cast<const void*>(&account), static_cast<long long>(account.balance),
                    static_cast<unsigned long long>(account.transfers));
  }

  void change(std::size_t number, std::int64_t amount) {
    accounts_[number].balance += amount;
    ++accounts_[number].transfers;
    seal(number);
  }

  std::vector<Account> accounts_;
  std::array<std::mutex, kStripes> stripes_;
};

}  // namespace

int main(int argc, char** argv) {
  const char* go_file = target_go_file(argc, argv);
  Bank bank;
  return change_all_the_time(
      go_file, kThreads, [&bank](unsigned, TargetRandom& random) { bank.transfer(random); },
      [&bank] { bank.check(); });
}
