// Leases that commands of the user stand for. A command is run with CKPT_LEASE_EVENT set to
//   issue    before the program starts
//   renew    before a recovered program is built
//   expire   when the program was suspended or has ended, or was not resumed after all
//   lost     when it could not be issued or renewed; its exit status does not count
// and with CKPT_LEASE_NAME, CKPT_LEASE_APPLICATION, and CKPT_LEASE_DATA: the last line that it printed when
// it last succeeded, which is its own to use. A command that exits with anything but 0, or is not done at its
// limit, has failed.
#pragma once

#include <string>
#include <vector>

#include "launcher/lease.h"
#include "launcher/lease_log.h"
#include "launcher/messages.h"
#include "launcher/timed_command.h"

namespace ckpt::launcher {

class SignalGate;

class ExecLeases {
 public:
  // `directory`: of the application. All of it outlives this.
  ExecLeases(std::vector<ExecLease> leases, LeasePolicy policy, std::string application, int directory,
             const SignalGate& signals, Messages& messages);
  ExecLeases(const ExecLeases&) = delete;
  ExecLeases& operator=(const ExecLeases&) = delete;
  // Gives back what is held.
  ~ExecLeases();

  // Under LeasePolicy::kFail throws Error for the first one that is lost.
  void issue() { acquire("issue", LeaseState::kActive); }
  void renew() { acquire("renew", LeaseState::kReestablished); }
  void expire();

 private:
  void acquire(const char* event, LeaseState state);
  // What its command printed when it last succeeded.
  std::string data_of(const ExecLease& lease) const;
  CommandOutcome run_for(const ExecLease& lease, const char* event, const std::string& data) const;
  // Empty: it succeeded. Else why not.
  std::string run(const ExecLease& lease, const char* event, LeaseState state);
  void lose(const ExecLease& lease, const std::string& why);

  std::vector<ExecLease> leases_;
  LeasePolicy policy_;
  std::string application_;
  LeaseLog log_;
  const SignalGate& signals_;
  Messages& messages_;
  std::vector<ExecLease> held_;
};

}  // namespace ckpt::launcher
