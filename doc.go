// Package snowtether is a placeholder for the package documentation.
package snowtether
