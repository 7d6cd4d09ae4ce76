// Package storetest says what fanfare.Store promises. Every driver runs the same suite:
//
//	func TestStore(t *testing.T)   { storetest.Run(t, open) }
//	func TestCompare(t *testing.T) { storetest.Compare(t, openMemory, open) }
//
// Run tries every method with its errors and guards, alone and from many goroutines. Compare makes the same random calls to the model
// (stores/memory) and to the driver and wants the same answers. A driver's configuration takes a Clock that stands for the database's clock
// in tests, so that nothing here waits. What a driver cannot do is a field of its StoreFeatures, never a test that is skipped.
//
// Times in the suite are whole milliseconds; a driver may keep them more exactly, not less.
package storetest
