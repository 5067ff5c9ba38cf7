import Persistence
import Units

/// How far a transfer is, as one line. Pure: what it shows follows from what it is told.
struct ProgressLine {
    let title: String
    /// What there is to do, where that is known better than the transfer knows it yet.
    let expectedBytes: UInt64?
    /// The progress of the last seconds, for a rate that follows the present.
    private var samples: [(at: Duration, bytes: UInt64)] = [(.zero, 0)]

    private static let window = Duration.seconds(10)

    init(title: String, expectedBytes: UInt64? = nil) {
        self.title = title
        self.expectedBytes = expectedBytes
    }

    /// Takes a new reading in.
    mutating func update(_ progress: TransferProgress, at time: Duration) {
        samples.append((time, progress.doneBytes))
        while samples.count > 2, time - samples[1].at > Self.window { samples.removeFirst() }
    }

    /// "verifying  43%  12.3 GiB of 28.6 GiB  410.0 MiB/s  about 40 s left".
    func text(_ progress: TransferProgress, barWidth: Int = 0) -> String {
        let total = max(expectedBytes ?? 0, progress.totalBytes)
        let done = min(progress.doneBytes, total)
        guard total > 0 else { return title }
        let share = Double(done) / Double(total)
        var text = "\(title)  \(percent(share))"
        if barWidth > 0 {
            let filled = Int(share * Double(barWidth))
            text +=
                "  [" + String(repeating: "#", count: filled) + String(repeating: ".", count: barWidth - filled) + "]"
        }
        text += "  \(ByteCount(done)) of \(ByteCount(total))"
        if let rate = bytesPerSecond, rate > 0 {
            text += "  \(ByteCount(UInt64(rate)))/s"
            if done < total { text += "  about \(Duration.seconds(Double(total - done) / rate).text) left" }
        }
        return text
    }

    /// nil where too little time has passed to tell.
    var bytesPerSecond: Double? {
        guard let first = samples.first, let last = samples.last, last.at - first.at >= .milliseconds(500) else {
            return nil
        }
        return Double(last.bytes - min(first.bytes, last.bytes)) / (last.at - first.at).inSeconds
    }

    /// Never 100% before all is done.
    private func percent(_ share: Double) -> String {
        let text = "\(share < 1 ? min(99, Int(share * 100)) : 100)%"
        return String(repeating: " ", count: max(0, 4 - text.count)) + text
    }
}

extension Duration {
    var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
