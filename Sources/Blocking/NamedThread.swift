import CLinux
import Foundation

/// Threads that bear their names in the kernel too, where `ps` and debuggers show them.
public enum NamedThread {
    /// Runs `body` on a thread of its own.
    ///
    /// - Parameter name: the kernel keeps 15 bytes of it (prctl(2), PR_SET_NAME).
    public static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        Thread {
            // Foundation's own way gives the kernel no name where the new thread runs before `start` has returned. A thread
            // without a name works as well as one with it.
            _ = clinux_name_thread(name)
            body()
        }.start()
    }
}
