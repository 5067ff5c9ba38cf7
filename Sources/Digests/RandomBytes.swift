import CCrypto

/// Bytes nobody can foresee, from libcrypto's generator, which the kernel seeds.
public func randomBytes(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        guard ccrypto_random(buffer.baseAddress, count) == 1 else { fatalError("libcrypto has no random bytes") }
        initialized = count
    }
}
